// GPTBigCode, the architecture of StarCoder and SantaCoder: a pre-LayerNorm decoder with learned positions and
// multi-query (or multi-head) attention. Allal et al., "SantaCoder: don't reach for the stars!" (2023), section 4;
// Li et al., "StarCoder: may the source be with you!" (2023), section 5.
import { z } from "zod";
import type { Activation, Value } from "../kernels/graph.ts";
import { GraphBuilder } from "../kernels/graph_builder.ts";
import type { TensorSource, WeightRef } from "../kernels/tensor_source.ts";
import { count, parseConfig, resolveAliases } from "./config.ts";
import type { Architecture, Network } from "./network.ts";

export const gptBigCode: Architecture = {
  modelType: "gpt_bigcode",
  build: (config, source) => buildGptBigCode(parseGptBigCodeConfig(config), source),
};

/** Newer names that transformers accepts for the same fields. */
const ALIASES = {
  max_position_embeddings: "n_positions",
  hidden_size: "n_embd",
  num_hidden_layers: "n_layer",
  num_attention_heads: "n_head",
};

/** The files' names of the two forms of GELU. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_new: "gelu_tanh",
  gelu: "gelu_erf",
};

/** Defaults are transformers' own; the caps keep a hostile file from asking for endless work. */
const configSchema = z.object({
  vocab_size: count(2 ** 24).default(50_257),
  n_positions: count(2 ** 24).default(1024),
  n_embd: count(2 ** 16).default(768),
  n_layer: count(1024).default(12),
  n_head: count(1024).default(12),
  n_inner: count(2 ** 20).nullable().default(null),
  activation_function: z.enum(
    Object.keys(ACTIVATIONS),
    `must be one of ${Object.keys(ACTIVATIONS).join(", ")}`,
  )
    .default("gelu_pytorch_tanh"),
  layer_norm_epsilon: z.number().positive().max(1).default(1e-5),
  scale_attn_weights: z.boolean().default(true),
  multi_query: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(true),
  add_cross_attention: z.literal(false, "cross-attention is not supported, must be false").default(false),
}).refine((config) => config.n_embd % config.n_head === 0, {
  path: ["n_embd"],
  error: "must be a multiple of n_head",
});

export interface GptBigCodeConfig {
  readonly vocabSize: number;
  readonly contextLength: number;
  readonly width: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly innerWidth: number;
  readonly activation: Activation;
  readonly epsilon: number;
  /** Factor on the attention scores. */
  readonly attentionScale: number;
  /** One key and value head for all query heads, or one for each. */
  readonly multiQuery: boolean;
  readonly tiedHead: boolean;
}

/** @throws {TypeError} naming the field at fault */
export function parseGptBigCodeConfig(json: unknown): GptBigCodeConfig {
  const config = parseConfig(configSchema, resolveAliases(json, ALIASES), "config.json");
  return {
    vocabSize: config.vocab_size,
    contextLength: config.n_positions,
    width: config.n_embd,
    numLayers: config.n_layer,
    numHeads: config.n_head,
    innerWidth: config.n_inner ?? 4 * config.n_embd,
    activation: ACTIVATIONS[config.activation_function],
    epsilon: config.layer_norm_epsilon,
    attentionScale: config.scale_attn_weights ? (config.n_embd / config.n_head) ** -0.5 : 1,
    multiQuery: config.multi_query,
    tiedHead: config.tie_word_embeddings,
  };
}

/** @throws {TypeError} when the tensors are in the layout of the original SantaCoder or of GPT-2 */
export function buildGptBigCode(config: GptBigCodeConfig, source: TensorSource): Network {
  // Files saved from the bare model, without its language-model head, lack the prefix.
  const prefix = source.find("wte.weight") ? "" : "transformer.";
  refuseOtherLayouts(config, source, prefix);
  const b = new GraphBuilder();
  const tokenTable: WeightRef = { name: `${prefix}wte.weight`, shape: [config.vocabSize, config.width] };
  let x = b.embedding(tokenTable, {
    name: `${prefix}wpe.weight`,
    shape: [config.contextLength, config.width],
  });
  for (let layer = 0; layer < config.numLayers; layer++) x = block(b, config, `${prefix}h.${layer}`, x);
  // Only rows that are sampled pay for the last norm and the head.
  x = layerNorm(b, config, `${prefix}ln_f`, b.gatherRows(x));
  // A tied head is the embedding, even where an old file also holds a copy of it as lm_head.weight.
  const head = config.tiedHead ? tokenTable : { ...tokenTable, name: "lm_head.weight" };
  const graph = b.build(b.linear(x, head));
  const { contextLength, vocabSize, width } = config;
  return { graph, contextLength, vocabSize, width };
}

function block(b: GraphBuilder, config: GptBigCodeConfig, name: string, x: Value): Value {
  const { width, innerWidth, numHeads, multiQuery, activation, attentionScale } = config;
  const headSize = width / numHeads;
  const numKvHeads = multiQuery ? 1 : numHeads;
  const rowOrder = multiQuery ? undefined : headInterleavedOrder(numHeads, headSize);

  const attentionInput = layerNorm(b, config, `${name}.ln_1`, x);
  const qkvWidth = width + 2 * numKvHeads * headSize;
  const qkv = linear(b, attentionInput, `${name}.attn.c_attn`, qkvWidth, rowOrder ? { rowOrder } : {});
  const attention = b.attention(qkv, { numHeads, numKvHeads, headSize, scale: attentionScale });
  x = linear(b, attention, `${name}.attn.c_proj`, width, { residual: x });

  const inner = linear(b, layerNorm(b, config, `${name}.ln_2`, x), `${name}.mlp.c_fc`, innerWidth, {
    activation,
  });
  return linear(b, inner, `${name}.mlp.c_proj`, width, { residual: x });
}

function layerNorm(b: GraphBuilder, config: GptBigCodeConfig, name: string, x: Value): Value {
  const shape = [config.width];
  return b.layerNorm(x, { name: `${name}.weight`, shape }, { name: `${name}.bias`, shape }, config.epsilon);
}

/** Every linear of this architecture but the head has a bias. */
function linear(
  b: GraphBuilder,
  x: Value,
  name: string,
  outWidth: number,
  options: { activation?: Activation; residual?: Value; rowOrder?: Uint32Array },
): Value {
  const { rowOrder, ...epilogue } = options;
  const order = rowOrder && { rowOrder };
  return b.linear(x, { name: `${name}.weight`, shape: [outWidth, x.width], ...order }, {
    bias: { name: `${name}.bias`, shape: [outWidth], ...order },
    ...epilogue,
  });
}

/**
 * Multi-head files store q, k and v of head 0, then of head 1, and so on (not GPT-2's thirds); attention wants
 * [q of all heads | k of all heads | v of all heads].
 */
function headInterleavedOrder(numHeads: number, headSize: number): Uint32Array {
  const width = numHeads * headSize;
  return Uint32Array.from({ length: 3 * width }, (_, row) => {
    const part = Math.floor(row / width);
    const head = Math.floor((row % width) / headSize);
    return (head * 3 + part) * headSize + row % headSize;
  });
}

function refuseOtherLayouts(config: GptBigCodeConfig, source: TensorSource, prefix: string): void {
  if (source.find(`${prefix}h.0.attn.q_attn.weight`)) {
    throw new TypeError(
      "Cannot load model: this is the original SantaCoder layout (attn.q_attn); use the ported checkpoint, bigcode/gpt_bigcode-santacoder",
    );
  }
  const name = `${prefix}h.0.attn.c_attn.weight`;
  const shape = source.find(name)?.shape;
  if (shape?.[0] === config.width && shape[1] !== config.width) {
    throw new TypeError(
      `Cannot load model: tensor "${name}" is stored [in, out] as in GPT-2, received [${shape}]; transpose the linear weights to [out, in]`,
    );
  }
}
