// The folders in which StarCoder's family is published, with weights of our own: of full size as files that are all holes, of
// which everything but the weights is read; and small, with random weights, read to the end.
import { deepStrictEqual, equal, ok } from "node:assert/strict";
import { join } from "std/path/mod.js";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { loadModel } from "../../models/load_model.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { packBatch, TestSequence } from "./cpu_models.ts";
import { PARITY_CASES } from "./parity_cases.ts";
import { withFolder } from "./safetensors_bytes.ts";

type Shapes = readonly (readonly [name: string, shape: readonly number[], dtype?: string])[];

interface Published {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly parameters: number;
  /** Files that transformers makes of it, of 10 GB at most. */
  readonly shards: number;
  readonly shapes: (config: Config) => Shapes;
}

/** config.json of the BigCode models, with all that is in them. */
function bigCode(n_layer: number, n_embd: number, n_head: number, n_positions = 8192, vocab_size = 49_152) {
  return {
    activation_function: "gelu_pytorch_tanh",
    architectures: ["GPTBigCodeForCausalLM"],
    attention_softmax_in_fp32: true,
    attn_pdrop: 0.1,
    bos_token_id: 0,
    embd_pdrop: 0.1,
    eos_token_id: 0,
    inference_runner: 0,
    initializer_range: 0.02,
    layer_norm_epsilon: 1e-5,
    max_batch_size: null,
    max_sequence_length: null,
    model_type: "gpt_bigcode",
    multi_query: true,
    n_embd,
    n_head,
    n_inner: 4 * n_embd,
    n_layer,
    n_positions,
    pad_key_length: true,
    pre_allocate_kv_cache: false,
    resid_pdrop: 0.1,
    scale_attention_softmax_in_fp32: true,
    scale_attn_weights: true,
    summary_activation: null,
    torch_dtype: "float32",
    use_cache: true,
    validate_runner_input: true,
    vocab_size,
  };
}

type Config = Record<string, number> & { readonly model_type: string };

/** In the order of the state dict, which is that of the shards; multi-query heads have 128 columns. */
function bigCodeShapes({ n_layer, n_embd, n_head, n_inner, n_positions, vocab_size }: Config): Shapes {
  const head = n_embd / n_head, vector = [n_embd];
  const layer = (i: number): Shapes => [
    [`transformer.h.${i}.ln_1.weight`, vector],
    [`transformer.h.${i}.ln_1.bias`, vector],
    [`transformer.h.${i}.attn.c_attn.weight`, [n_embd + 2 * head, n_embd]],
    [`transformer.h.${i}.attn.c_attn.bias`, [n_embd + 2 * head]],
    [`transformer.h.${i}.attn.c_proj.weight`, [n_embd, n_embd]],
    [`transformer.h.${i}.attn.c_proj.bias`, vector],
    [`transformer.h.${i}.ln_2.weight`, vector],
    [`transformer.h.${i}.ln_2.bias`, vector],
    [`transformer.h.${i}.mlp.c_fc.weight`, [n_inner, n_embd]],
    [`transformer.h.${i}.mlp.c_fc.bias`, [n_inner]],
    [`transformer.h.${i}.mlp.c_proj.weight`, [n_embd, n_inner]],
    [`transformer.h.${i}.mlp.c_proj.bias`, vector],
  ];
  return [
    ["transformer.wte.weight", [vocab_size, n_embd]],
    ["transformer.wpe.weight", [n_positions, n_embd]],
    ...Array.from({ length: n_layer }, (_, i) => layer(i)).flat(),
    ["transformer.ln_f.weight", vector],
    ["transformer.ln_f.bias", vector],
  ];
}

/** Older files have a copy of the tied head, and the causal mask of every layer. */
function withBuffers(shapes: (config: Config) => Shapes): Published["shapes"] {
  return (config) => {
    const { n_layer, n_positions, n_embd, vocab_size } = config;
    const masks = Array.from(
      { length: n_layer },
      (_, i) => [`transformer.h.${i}.attn.bias`, [n_positions, n_positions], "BOOL"] as const,
    );
    return [...shapes(config), ...masks, ["lm_head.weight", [vocab_size, n_embd]]];
  };
}

function starcoder2Shapes(config: Config): Shapes {
  const {
    num_hidden_layers,
    hidden_size,
    intermediate_size,
    num_attention_heads,
    num_key_value_heads,
    vocab_size,
  } = config;
  const kv = hidden_size / num_attention_heads * num_key_value_heads;
  const linear = (name: string, rows: number, columns: number): Shapes => [
    [`${name}.weight`, [rows, columns]],
    [`${name}.bias`, [rows]],
  ];
  const norm = (name: string): Shapes => ["weight", "bias"].map((kind) => [`${name}.${kind}`, [hidden_size]]);
  const layer = (i: number) => {
    const at = `model.layers.${i}`;
    return [
      ...linear(`${at}.self_attn.q_proj`, hidden_size, hidden_size),
      ...linear(`${at}.self_attn.k_proj`, kv, hidden_size),
      ...linear(`${at}.self_attn.v_proj`, kv, hidden_size),
      ...linear(`${at}.self_attn.o_proj`, hidden_size, hidden_size),
      ...linear(`${at}.mlp.c_fc`, intermediate_size, hidden_size),
      ...linear(`${at}.mlp.c_proj`, hidden_size, intermediate_size),
      ...norm(`${at}.input_layernorm`),
      ...norm(`${at}.post_attention_layernorm`),
    ];
  };
  return [
    ["model.embed_tokens.weight", [vocab_size, hidden_size]],
    ...Array.from({ length: num_hidden_layers }, (_, i) => layer(i)).flat(),
    ...norm("model.norm"),
  ];
}

const STARCODER2_3B = {
  architectures: ["Starcoder2ForCausalLM"],
  attention_dropout: 0.1,
  bos_token_id: 0,
  embedding_dropout: 0.1,
  eos_token_id: 0,
  hidden_act: "gelu_pytorch_tanh",
  hidden_size: 3072,
  initializer_range: 0.018042,
  intermediate_size: 12_288,
  layer_norm_epsilon: 1e-5,
  max_position_embeddings: 16_384,
  mlp_type: "default",
  model_type: "starcoder2",
  norm_epsilon: 1e-5,
  norm_type: "layer_norm",
  num_attention_heads: 24,
  num_hidden_layers: 30,
  num_key_value_heads: 2,
  residual_dropout: 0.1,
  rope_theta: 999999.4420358813,
  sliding_window: 4096,
  use_bias: true,
  use_cache: true,
  vocab_size: 49_152,
};

const PUBLISHED: readonly Published[] = [
  {
    name: "starcoder",
    config: bigCode(40, 6144, 48),
    parameters: 15_517_456_384,
    shards: 7,
    shapes: bigCodeShapes,
  },
  {
    name: "starcoderbase-7b",
    config: bigCode(42, 4096, 32),
    parameters: 7_327_263_232,
    shards: 3,
    shapes: bigCodeShapes,
  },
  {
    name: "starcoderbase-3b",
    config: bigCode(36, 2816, 22),
    parameters: 3_043_311_104,
    shards: 2,
    shapes: bigCodeShapes,
  },
  {
    name: "starcoderbase-1b",
    config: bigCode(24, 2048, 16),
    parameters: 1_137_207_296,
    shards: 1,
    shapes: bigCodeShapes,
  },
  {
    name: "gpt_bigcode-santacoder",
    config: bigCode(24, 2048, 16, 2048, 49_280),
    parameters: 1_124_886_528,
    shards: 1,
    shapes: withBuffers(bigCodeShapes),
  },
  {
    name: "tiny_starcoder_py",
    config: bigCode(20, 768, 12, 8192),
    parameters: 164_144_128,
    shards: 1,
    shapes: withBuffers(bigCodeShapes),
  },
  {
    name: "starcoder2-3b",
    config: STARCODER2_3B,
    parameters: 3_030_371_328,
    shards: 2,
    shapes: starcoder2Shapes,
  },
];

const BYTES: Readonly<Record<string, number>> = { F32: 4, BOOL: 1 };
const SHARD_BYTES = 10e9;

function bytesOf([, shape, dtype = "F32"]: Shapes[number]): number {
  return shape.reduce((a, b) => a * b, BYTES[dtype]);
}

/** As save_pretrained does it: a file is full when the next tensor does not fit. */
function cutIntoShards(shapes: Shapes, most: number): Shapes[number][][] {
  const shards: Shapes[number][][] = [[]];
  let size = 0;
  for (const tensor of shapes) {
    if (size > 0 && size + bytesOf(tensor) > most) size = shards.push([]) * 0;
    shards.at(-1)!.push(tensor);
    size += bytesOf(tensor);
  }
  return shards;
}

/** @param fill a tensor's values; without it the file is one hole */
async function writeFolder(
  folder: string,
  config: unknown,
  shapes: Shapes,
  most: number,
  fill?: (name: string, count: number) => Float32Array<ArrayBuffer>,
): Promise<string[]> {
  await Deno.mkdir(folder, { recursive: true });
  await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(config));
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(join(PARITY_CASES[0].modelDir, file), join(folder, file));
  }
  const shards = cutIntoShards(shapes, most), weight_map: Record<string, string> = {};
  const total = String(shards.length).padStart(5, "0");
  const nameOf = (i: number) =>
    shards.length === 1
      ? "model.safetensors"
      : `model-${String(i + 1).padStart(5, "0")}-of-${total}.safetensors`;
  for (const [i, tensors] of shards.entries()) {
    for (const [name] of tensors) weight_map[name] = nameOf(i);
    await writeShard(join(folder, nameOf(i)), tensors, fill);
  }
  if (shards.length > 1) {
    const index = {
      metadata: { total_size: shapes.reduce((sum, tensor) => sum + bytesOf(tensor), 0) },
      weight_map,
    };
    await Deno.writeTextFile(join(folder, "model.safetensors.index.json"), JSON.stringify(index));
  }
  return shards.map((_, i) => nameOf(i));
}

async function writeShard(
  path: string,
  tensors: Shapes,
  fill?: (name: string, count: number) => Float32Array<ArrayBuffer>,
): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let end = 0;
  for (const tensor of tensors) {
    const [name, shape, dtype = "F32"] = tensor, start = end;
    end += bytesOf(tensor);
    header[name] = { dtype, shape, data_offsets: [start, end] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header)), length = new DataView(new ArrayBuffer(8));
  length.setBigUint64(0, BigInt(text.length), true);
  using file = await Deno.open(path, { write: true, create: true });
  const write = async (bytes: Uint8Array) => {
    for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
  };
  await write(new Uint8Array(length.buffer));
  await write(text);
  if (!fill) return await file.truncate(8 + text.length + end);
  for (const tensor of tensors) {
    const [name, , dtype = "F32"] = tensor, bytes = bytesOf(tensor);
    await write(dtype === "F32" ? new Uint8Array(fill(name, bytes / 4).buffer) : new Uint8Array(bytes));
  }
}

for (const { name, config, parameters, shards, shapes } of PUBLISHED) {
  Deno.test(`a folder laid out as ${name}'s, of its full size, is opened`, () =>
    withFolder({}, async (folder) => {
      const files = await writeFolder(folder, config, shapes(config as unknown as Config), SHARD_BYTES);
      equal(files.length, shards);
      using checkpoint = await openCheckpoint(folder);
      equal(checkpoint.numParameters, parameters);
      equal(checkpoint.eosTokenId, 0);
      equal(checkpoint.architecture, config.model_type);
      const { contextLength, vocabSize, width } = checkpoint.network;
      deepStrictEqual([contextLength, vocabSize, width], [
        config.n_positions ?? config.max_position_embeddings,
        config.vocab_size,
        config.n_embd ?? config.hidden_size,
      ]);
    }));
}

/** The same fields and tensors, a few times smaller; heads keep their 128 columns (64 in tiny_starcoder_py). */
function shrunk(config: Readonly<Record<string, unknown>>): Config {
  const small = config.model_type === "starcoder2"
    ? {
      hidden_size: 256,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      intermediate_size: 300,
      num_hidden_layers: 3,
    }
    : {
      n_embd: 256,
      n_head: (config.n_embd as number) / (config.n_head as number) === 64 ? 4 : 2,
      n_inner: 300,
      n_layer: 3,
    };
  const context = config.model_type === "starcoder2" ? { max_position_embeddings: 64 } : { n_positions: 64 };
  return { ...config, ...small, ...context, vocab_size: 300 } as unknown as Config;
}

for (
  const { name, config, shapes } of PUBLISHED.filter(({ name }) =>
    !/-[37]b$/.test(name) || name.startsWith("starcoder2")
  )
) {
  Deno.test(`a small model laid out as ${name} is read to the end, the same from one file and from several`, () =>
    withFolder({}, async (folder) => {
      const small = shrunk(config), seed = testSeed();
      const all = shapes(small);
      // By name, whatever file a tensor is in.
      const values = new Map<string, Float32Array<ArrayBuffer>>(), random = new Random(seed);
      for (const tensor of all) values.set(tensor[0], random.normals(bytesOf(tensor) / 4 | 0, 0, 0.3));
      const fill = (tensor: string) => values.get(tensor)!;
      const many = await writeFolder(join(folder, "many"), small, all, 300_000, fill);
      await writeFolder(join(folder, "one"), small, all, Infinity, fill);
      ok(many.length > 3, `${many.length} files`);
      const [inMany, inOne] = [await logitsOf(join(folder, "many")), await logitsOf(join(folder, "one"))];
      deepStrictEqual(inMany, inOne);
      ok(inMany.every(Number.isFinite) && new Set(inMany).size > 1000);
    }));
}

async function logitsOf(modelDir: string): Promise<Float32Array> {
  const { runner } = await loadModel({ modelDir, device: "cpu", kvBytes: 2 ** 24, maxSequences: 16 });
  await using _ = runner;
  const sequence = new TestSequence(Array.from({ length: 16 }, (_, i) => i * 11), [2, 0, 1]);
  const { logits } = await runner.step(packBatch([{ sequence, count: 16 }], { everyRow: true }));
  // Ids beyond the tokenizer's are never drawn.
  return logits!.filter((_, i) => i % 300 < 261);
}
