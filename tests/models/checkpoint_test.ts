import { deepStrictEqual, equal, ok, rejects } from "node:assert/strict";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { weightsOf } from "../../kernels/graph_weights.ts";
import { gptBigCode } from "../../models/gpt_bigcode.ts";
import { type HeaderEntry, safetensorsFile, withFolder } from "./safetensors_bytes.ts";

const CONFIG = {
  model_type: "gpt_bigcode",
  n_embd: 4,
  n_layer: 1,
  n_head: 2,
  n_inner: 3,
  n_positions: 5,
  vocab_size: 7,
  eos_token_id: 6,
};

/** All tensors of the tiny model, F32. `change` edits the header's entries before offsets are given out. */
function tensors(change: (shapes: Map<string, readonly number[]>) => void = () => {}): Uint8Array {
  const shapes = new Map<string, readonly number[]>();
  const { graph } = gptBigCode.build(CONFIG, {
    find: () => undefined,
    readRows: () => Promise.reject(),
    readRowsInto: () => Promise.reject(),
  });
  for (const { ref } of weightsOf(graph)) shapes.set(ref.name, ref.shape);
  change(shapes);
  const header: Record<string, HeaderEntry> = {};
  let end = 0;
  for (const [name, shape] of shapes) {
    const start = end;
    end += 4 * shape.reduce((a, b) => a * b, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [start, end] };
  }
  return safetensorsFile(header, end, []);
}

function files(change: Record<string, Uint8Array | string | undefined> = {}) {
  const whole: Record<string, Uint8Array | string | undefined> = {
    "config.json": JSON.stringify(CONFIG),
    "tokenizer.json": "{}",
    "model.safetensors": tensors(),
    ...change,
  };
  return Object.fromEntries(
    Object.entries(whole).filter((file): file is [string, Uint8Array | string] => file[1] !== undefined),
  );
}

Deno.test("openCheckpoint() reads a folder without the optional files", async () => {
  await withFolder(files(), async (folder) => {
    using checkpoint = await openCheckpoint(folder);
    equal(checkpoint.architecture, "gpt_bigcode");
    equal(checkpoint.network.contextLength, 5);
    equal(checkpoint.network.vocabSize, 7);
    // wte, wpe, two norms, c_attn, c_proj, c_fc, mlp.c_proj and ln_f, with their biases.
    equal(
      checkpoint.numParameters,
      28 + 20 + 16 + (8 * 4 + 8) + (4 * 4 + 4) + (3 * 4 + 3) + (4 * 3 + 4) + 8,
    );
    equal(checkpoint.weightBytes, 4 * checkpoint.numParameters);
    equal(checkpoint.eosTokenId, 6);
    deepStrictEqual(checkpoint.suppressedTokens, []);
    deepStrictEqual(checkpoint.tokenizer, { tokenizerJson: {}, tokenizerConfig: {} });
  });
});

Deno.test("openCheckpoint() prefers generation_config.json, and skips tensors that no graph names", async () => {
  const change = {
    "generation_config.json": JSON.stringify({ eos_token_id: [3, 4], suppress_tokens: [1, 2] }),
    "model.safetensors": tensors((shapes) => shapes.set("transformer.h.0.attn.bias", [1, 1, 5, 5])),
  };
  await withFolder(files(change), async (folder) => {
    using checkpoint = await openCheckpoint(folder);
    equal(checkpoint.eosTokenId, 3);
    deepStrictEqual(checkpoint.suppressedTokens, [1, 2]);
  });
});

const config = (change: Record<string, unknown>) => ({
  "config.json": JSON.stringify({ ...CONFIG, ...change }),
});

const BROKEN: readonly [
  name: string,
  change: Record<string, Uint8Array | string | undefined>,
  error: RegExp,
][] = [
  [
    "without config.json",
    { "config.json": undefined },
    /config.json" is missing; a Hugging Face model folder has/,
  ],
  [
    "without tokenizer.json",
    { "tokenizer.json": undefined },
    /tokenizer.json" is missing; save the tokenizer/,
  ],
  ["without tensors", { "model.safetensors": undefined }, /has no model.safetensors; download it/],
  [
    "with pickled tensors only",
    { "model.safetensors": undefined, "pytorch_model.bin": "x" },
    /pytorch_model.bin must be converted/,
  ],
  ["whose config.json is cut off", { "config.json": '{"model_type":' }, /config.json" must be JSON/],
  ["whose config.json is a list", { "config.json": "[]" }, /config.json/],
  [
    "of an unknown architecture",
    config({ model_type: "mamba" }),
    /must be one of "gpt_bigcode", .*received "mamba"/,
  ],
  ["with a wrong field", config({ n_embd: 5 }), /"n_embd": must be a multiple of n_head, received 5/],
  [
    "quantised by another tool",
    config({ quantization_config: { quant_method: "gptq", bits: 8 } }),
    /"quantization_config.quant_method": must be "hyades".*received "gptq"/,
  ],
  [
    "quantised to 3 bits",
    config({ quantization_config: { quant_method: "hyades", bits: 3 } }),
    /"quantization_config.bits": must be 4 or 8, received 3/,
  ],
  [
    "with a wrong suppress_tokens",
    { "generation_config.json": '{"suppress_tokens": [-1]}' },
    /generation_config.json: "suppress_tokens.0".*received -1/,
  ],
  [
    "that lacks a tensor",
    { "model.safetensors": tensors((shapes) => shapes.delete("transformer.h.0.ln_2.bias")) },
    /tensor "transformer.h.0.ln_2.bias" is missing from the checkpoint/,
  ],
  [
    "with a tensor of the wrong shape",
    { "model.safetensors": tensors((shapes) => shapes.set("transformer.wpe.weight", [4, 4])) },
    /"transformer.wpe.weight" must have shape \[5,4\], received \[4,4\]/,
  ],
  [
    "that is untied but lacks the head",
    config({ tie_word_embeddings: false }),
    /"lm_head.weight" is missing/,
  ],
];

for (const [name, change, error] of BROKEN) {
  Deno.test(`openCheckpoint() refuses a folder ${name}`, async () => {
    await withFolder(files(change), async (folder) => {
      await rejects(openCheckpoint(folder), (thrown: Error) => {
        ok(error.test(thrown.message), thrown.message);
        return true;
      });
    });
  });
}

Deno.test("openCheckpoint() says whether the folder is missing or a file", async () => {
  await withFolder(files(), async (folder) => {
    await rejects(openCheckpoint(`${folder}/nowhere`), /must be a model folder, there is none/);
    await rejects(openCheckpoint(`${folder}/config.json`), /received a file; name the folder it is in/);
  });
});
