// GGUF files against safetensors of the same weights (fixtures/make_gguf.py): every type's blocks to the bit, models within
// the quantisation's own error, tokenizers to the token.
import { deepStrictEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { join } from "std/path/mod.js";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import { Tokenizer } from "../../engine/tokenizer.ts";
import { weightsOf } from "../../kernels/graph_weights.ts";
import {
  CopyingSource,
  loadFloat32,
  type TensorInfo,
  type TensorSource,
  toFloat32,
} from "../../kernels/tensor_source.ts";
import { blockType, dequantise } from "../../models/gguf/gguf_blocks.ts";
import { ggufModel } from "../../models/gguf/gguf_architectures.ts";
import { openGgufCheckpoint } from "../../models/gguf/gguf_checkpoint.ts";
import type { GgufHeader } from "../../models/gguf/gguf_header.ts";
import { ggufTokenizer } from "../../models/gguf/gguf_tokenizer.ts";
import { CpuRunner } from "../../models/cpu_runner.ts";
import { loadModel } from "../../models/load_model.ts";
import { openCheckpoint, readJson } from "../../models/checkpoint.ts";
import { SafetensorsSource } from "../../models/safetensors.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { packBatch, TestSequence } from "./cpu_models.ts";
import { logitError } from "./logit_error.ts";
import { readExpected } from "./parity_cases.ts";

const FIXTURES = fileURLToPath(new URL("../fixtures", import.meta.url));
const file = (name: string) => join(FIXTURES, "gguf", `${name}.gguf`);

Deno.test("dequantise() reads what llama.cpp's own package reads, from any bytes, but for the rounding to f16", async () => {
  using source = await SafetensorsSource.open(join(FIXTURES, "gguf", "blocks.safetensors"));
  const kinds = source.names.filter((name) => name.endsWith(".values")).map((name) => name.split("."));
  equal(kinds.length, 8);
  for (const [name, type] of kinds) {
    const stored = await rawBytes(`${name}.${type}.bytes`);
    const { shape } = source.find(`${name}.${type}.values`)!;
    const expected = await loadFloat32(source, { name: `${name}.${type}.values`, shape });
    const actual = dequantise(blockType(Number(type), name, 256), stored);
    equal(actual.length, expected.length);
    expected.forEach((value, i) => {
      const most = Math.abs(value) * 2 ** -11 + 2 ** -25;
      ok(Math.abs(actual[i] - value) <= most, `${name}: value ${i} must be ${value}, received ${actual[i]}`);
    });
  }
});

/** Bytes, which no kernel reads, so neither does SafetensorsSource. */
async function rawBytes(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await Deno.readFile(join(FIXTURES, "gguf", "blocks.safetensors"));
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const [start, end] = header[name].data_offsets;
  return bytes.slice(8 + length + start, 8 + length + end);
}

/** L2 error of weights at most, relative: what the type is known for. */
const MODELS: readonly [name: string, checkpoint: string, mostWeights: number][] = [
  ["starcoder-f16", "mqa-d64-sharded-f32", 3e-4],
  ["starcoder-q8_0", "mqa-d64-sharded-f32", 6e-3],
  ["starcoder2-bf16", "starcoder2-mqa-untied-bf16", 0],
  ["starcoder2-q8_0", "starcoder2-gqa-window-f32", 6e-3],
  ["starcoder2-q4_0", "starcoder2-gqa-window-f32", 0.1],
  ["qwen2-q8_0", "qwen2-gqa-f32", 6e-3],
  ["qwen2-q4_0", "qwen2-gqa-f32", 0.1],
  ["qwen2-q4_k", "../gguf/qwen2-wide", 0.09],
  ["qwen2-q6_k", "../gguf/qwen2-wide", 0.025],
];

/** Draws of other signs: one alone was 0.4 to 1.6 times their root mean square. */
const DRAWS = 10;

for (const [name, checkpoint, mostWeights] of MODELS) {
  Deno.test(`a GGUF file is the model that it was made of, within the quantisation's error: ${name}`, async () => {
    using ours = await openGgufCheckpoint(file(name));
    using theirs = await openCheckpoint(join(FIXTURES, "checkpoints", checkpoint));
    equal(JSON.stringify(ours.network.graph), JSON.stringify(theirs.network.graph));
    deepStrictEqual([ours.fileFormat, theirs.fileFormat], ["gguf", "safetensors"]);
    equal(ours.numParameters, theirs.numParameters);
    equal(ours.eosTokenId, theirs.eosTokenId);
    deepStrictEqual(ours.suppressedTokens, theirs.suppressedTokens);
    const error = await weightError(ours, theirs);
    ok(error <= mostWeights, `weights differ by ${error}`);

    const expected = await logitsOf(theirs, theirs.tensors);
    const errorOf = async (tensors: TensorSource) =>
      logitError(await logitsOf(theirs, tensors), expected, theirs.network.vocabSize).l2;
    const actual = await errorOf(ours.tensors);
    // The same errors with other signs are other weights that are as near. One draw may be half of the usual, so many.
    const random = new Random(testSeed());
    let squares = 0;
    for (let draw = 0; draw < DRAWS; draw++) {
      const drawn = await errorOf(new FlippedErrors(ours.tensors, theirs.tensors, random));
      squares += drawn * drawn;
    }
    const usual = Math.sqrt(squares / DRAWS);
    console.log(
      `  weights ${error.toExponential(1)}, logits ${actual.toExponential(1)}, other signs ${
        usual.toExponential(1)
      }`,
    );
    ok(actual <= 2 * usual, `logits differ by ${actual}, with other signs by ${usual}`);
  });
}

type Opened = Awaited<ReturnType<typeof openCheckpoint>>;

/** Relative L2 error of all matrices together. */
async function weightError(ours: Opened, theirs: Opened): Promise<number> {
  let errors = 0, squares = 0;
  for (const { ref } of weightsOf(theirs.network.graph)) {
    if (ref.shape.length !== 2) continue;
    const [actual, expected] = await Promise.all(
      [ours, theirs].map(({ tensors }) => loadFloat32(tensors, ref)),
    );
    expected.forEach((value, i) => {
      errors += (actual[i] - value) ** 2;
      squares += value ** 2;
    });
  }
  return Math.sqrt(errors / squares);
}

/** What `ours` has beside `theirs`, added or taken away at random. */
class FlippedErrors extends CopyingSource {
  readonly #ours: TensorSource;
  readonly #theirs: TensorSource;
  readonly #random: Random;

  constructor(ours: TensorSource, theirs: TensorSource, random: Random) {
    super();
    this.#ours = ours;
    this.#theirs = theirs;
    this.#random = random;
  }

  find(name: string): TensorInfo | undefined {
    const found = this.#theirs.find(name);
    return found && { ...found, dtype: "F32" };
  }

  async readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const [ours, theirs] = await Promise.all([this.#ours, this.#theirs].map(async (source) => {
      const dtype = source.find(name)!.dtype as "F32" | "F16" | "BF16";
      return toFloat32(await source.readRows(name, start, end), dtype);
    }));
    const values = theirs.map((value, i) => this.#random.below(2) === 0 ? ours[i] : 2 * value - ours[i]);
    return new Uint8Array(values.buffer);
  }
}

async function logitsOf(
  { network: { graph, contextLength } }: Opened,
  tensors: TensorSource,
): Promise<Float32Array> {
  const sizes = { kvBytes: 2 ** 24, maxBatchTokens: 64, maxSequences: 64, contextLength };
  const options = {
    ...sizes,
    runtime: "kernels",
    suppressed: [],
    numThreads: 1,
    onProgress: () => {},
  } as const;
  await using runner = await CpuRunner.create(graph, tensors, options);
  const sequence = new TestSequence(Array.from({ length: 40 }, (_, i) => (i * 37 + 11) % 250), [2, 0, 1]);
  return (await runner.step(packBatch([{ sequence, count: 40 }], { everyRow: true }))).logits!;
}

Deno.test("a GGUF file of StarCoder2 in bf16 continues as transformers does", async () => {
  const expectedDir = join(FIXTURES, "checkpoints/starcoder2-mqa-untied-bf16");
  const { prompts, greedyPrompt, greedy } = await readExpected({ expectedDir });
  const { runner } = await loadModel({ modelDir: file("starcoder2-bf16"), device: "cpu", kvBytes: 2 ** 24 });
  await using _ = runner;
  const sequence = new TestSequence(prompts[greedyPrompt], [7, 2, 9, 0, 4, 1]);
  for (let i = 0; i < greedy.length; i++) {
    const count = sequence.tokens.length - sequence.numCached;
    const { tokenIds } = await runner.step(packBatch([{ sequence, count }]));
    sequence.numCached += count;
    sequence.tokens.push(tokenIds[0]);
  }
  deepStrictEqual(sequence.tokens.slice(prompts[greedyPrompt].length), [...greedy]);
});

const TEXTS = [
  "def add(a, b):\n    return a + b  # 1234 ¾ Ⅷ\n",
  "<fim_prefix>if x:\r\n\t<fim_suffix>\n\n\n<fim_middle>",
  "naïve café 日本語 🙂🙃 don't we'll \u00a0 e\u0301\n",
  "   x  =\t'ab'  ;;;\n\n   }\n",
];

/** As StarCoder's tokenizer.json has it. */
const STARCODER_SPLITTING = {
  type: "Sequence",
  pretokenizers: [
    { type: "Digits", individual_digits: true },
    { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  ],
};

Deno.test("ggufTokenizer() of the embedded model's tokens, split as StarCoder does, is that tokenizer", async () => {
  const embedded = await readJson(DEFAULT_MODEL_DIR, "tokenizer.json", "") as {
    model: { vocab: Record<string, number>; merges: (string | string[])[] };
    added_tokens: { id: number; content: string }[];
  };
  const json = { ...embedded, pre_tokenizer: STARCODER_SPLITTING };
  const original = new Tokenizer(json, {}),
    rebuilt = new Tokenizer(
      ggufTokenizer(headerOf(json, { "tokenizer.ggml.pre": "starcoder" }), "x").tokenizerJson,
      {},
    );
  const source = await Deno.readTextFile(new URL("../../models/quantize.ts", import.meta.url));
  for (const text of [...TEXTS, source]) {
    deepStrictEqual(Array.from(rebuilt.encode(text)), Array.from(original.encode(text)));
  }
});

function headerOf(
  { model, added_tokens }: {
    model: { vocab: Record<string, number>; merges: (string | string[])[] };
    added_tokens: { id: number; content: string }[];
  },
  more: Record<string, unknown>,
): GgufHeader {
  const tokens: string[] = [], types: number[] = [];
  for (const [token, id] of Object.entries(model.vocab)) [tokens[id], types[id]] = [token, 1];
  for (const { id, content } of added_tokens) [tokens[id], types[id]] = [content, 3];
  const merges = model.merges.map((pair) => typeof pair === "string" ? pair : pair.join(" "));
  return {
    metadata: {
      "general.architecture": "starcoder",
      "tokenizer.ggml.model": "gpt2",
      "tokenizer.ggml.tokens": tokens,
      "tokenizer.ggml.token_type": types,
      "tokenizer.ggml.merges": merges,
      ...more,
    },
    tensors: new Map(),
  };
}

Deno.test("ggufTokenizer() splits as the file says, or as its architecture does where the file says nothing", () => {
  const tiny = { model: { vocab: { a: 0 }, merges: [] }, added_tokens: [] };
  const json = (more: Record<string, unknown>) =>
    JSON.stringify(ggufTokenizer(headerOf(tiny, more), "x").tokenizerJson);
  const starcoder = json({ "tokenizer.ggml.pre": "starcoder" }),
    qwen2 = json({ "tokenizer.ggml.pre": "qwen2" });
  equal(json({}), starcoder);
  equal(json({ "tokenizer.ggml.pre": "default", "general.architecture": "qwen2" }), qwen2);
  ok(qwen2.includes('"NFC"') && starcoder.includes('"Digits"'));
  throws(
    () => json({ "tokenizer.ggml.pre": "llama-bpe" }),
    /x: "tokenizer\.ggml\.pre": must be one of starcoder.*received "llama-bpe"/,
  );
  throws(
    () => json({ "tokenizer.ggml.model": "llama" }),
    /"tokenizer\.ggml\.model": must be "gpt2", a byte-level BPE, received "llama"/,
  );
});

Deno.test("ggufModel() says which field it cannot serve, and gives StarCoder2 the window that converters leave out", () => {
  const model = (metadata: Record<string, unknown>) => ggufModel({ metadata, tensors: new Map() }, "x.gguf");
  throws(
    () => model({ "general.architecture": "llama" }),
    /x\.gguf: "general\.architecture": must be one of starcoder, starcoder2, qwen2, received "llama"/,
  );
  throws(
    () => model({ "general.architecture": "qwen2", "qwen2.block_count": "many" }),
    /"qwen2\.block_count": must be a number, received "many"/,
  );
  equal(model({ "general.architecture": "starcoder2" }).config.sliding_window, 4096);
  deepStrictEqual(
    model({ "general.architecture": "qwen2", "qwen2.rope.scaling.type": "yarn" }).config.rope_scaling,
    { rope_type: "yarn" },
  );
});

Deno.test("openGgufCheckpoint() refuses what is no GGUF, is cut short, or has types that are not read", async () => {
  const folder = await Deno.makeTempDir(), whole = await Deno.readFile(file("qwen2-q4_0"));
  try {
    const open = async (bytes: Uint8Array) => {
      await Deno.writeFile(`${folder}/x.gguf`, bytes);
      using _ = await openGgufCheckpoint(`${folder}/x.gguf`);
    };
    await rejects(
      open(new TextEncoder().encode("GGML, or so it seems, is another format")),
      /must be a GGUF file/,
    );
    await rejects(open(whole.subarray(0, 3000)), /must be a GGUF file: it ends within its header/);
    await rejects(
      open(whole.subarray(0, whole.length - 1000)),
      /ends within tensor ".*"; it was not downloaded to its end/,
    );
    throws(
      () => blockType(16, "t", 256),
      /tensor "t" must be of a GGUF type among F32, F16, BF16, Q4_0.*received number 16/,
    );
    throws(() => blockType(12, "t", 96), /rows of "t" must be whole blocks of 256 for Q4_K, received 96/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
