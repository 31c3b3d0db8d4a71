// StarCoder2: pre-LayerNorm decoders with rotary positions, grouped-query attention over a sliding window and a plain MLP,
// biased throughout. Lozhkov et al., "StarCoder 2 and The Stack v2" (2024), section 6.
import { z } from "zod";
import type { Activation, Value } from "../kernels/graph.ts";
import type { GraphBuilder } from "../kernels/graph_builder.ts";
import type { TensorSource, WeightRef } from "../kernels/tensor_source.ts";
import { count, parseConfig } from "./config.ts";
import type { Architecture, Network } from "./network.ts";
import { hasEvenHeads, headSizeOf, ODD_HEADS, rotaryBaseOf, rotaryFields } from "./rotary_config.ts";
import { buildRotaryDecoder, type RotaryDecoderConfig } from "./rotary_decoder.ts";
import { type StackedRefs, stackQkv } from "./stacked_refs.ts";

export const starcoder2: Architecture = {
  modelType: "starcoder2",
  build: (config, source) => buildStarcoder2(parseStarcoder2Config(config), source),
};

/** The files' names of the two forms of GELU. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_new: "gelu_tanh",
  gelu: "gelu_erf",
};

/** Defaults are transformers' own; the caps keep a hostile file from asking for endless work. */
const configSchema = z.object({
  model_type: z.literal("starcoder2"),
  vocab_size: count(2 ** 24).default(49_152),
  hidden_size: count(2 ** 16).default(3072),
  intermediate_size: count(2 ** 20).default(12_288),
  num_hidden_layers: count(1024).default(30),
  num_attention_heads: count(1024).default(24),
  num_key_value_heads: count(1024).nullish(),
  head_dim: count(1024).nullish(),
  hidden_act: z.enum(Object.keys(ACTIVATIONS), `must be one of ${Object.keys(ACTIVATIONS).join(", ")}`)
    .default("gelu_pytorch_tanh"),
  mlp_type: z.literal("default", 'must be "default"').optional(),
  norm_type: z.literal("layer_norm", 'must be "layer_norm"').optional(),
  max_position_embeddings: count(2 ** 24).default(4096),
  norm_epsilon: z.number().positive().max(1).default(1e-5),
  sliding_window: count(2 ** 24).nullish(),
  use_bias: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(true),
  ...rotaryFields,
}).refine((config) => config.num_attention_heads % (config.num_key_value_heads ?? 2) === 0, {
  path: ["num_key_value_heads"],
  error: "must divide num_attention_heads",
}).refine(hasEvenHeads, ODD_HEADS);

export interface Starcoder2Config extends RotaryDecoderConfig {
  /** Positions that one attends to, its own included; undefined: all. */
  readonly window: number | undefined;
  readonly activation: Activation;
  readonly biased: boolean;
}

/** @throws {TypeError} naming the field at fault */
export function parseStarcoder2Config(json: unknown): Starcoder2Config {
  const config = parseConfig(configSchema, json, "config.json");
  return {
    vocabSize: config.vocab_size,
    contextLength: config.max_position_embeddings,
    width: config.hidden_size,
    innerWidth: config.intermediate_size,
    numLayers: config.num_hidden_layers,
    numHeads: config.num_attention_heads,
    numKvHeads: config.num_key_value_heads ?? 2,
    headSize: headSizeOf(config),
    window: config.sliding_window ?? undefined,
    activation: ACTIVATIONS[config.hidden_act],
    rotaryBase: rotaryBaseOf(config),
    epsilon: config.norm_epsilon,
    biased: config.use_bias,
    tiedHead: config.tie_word_embeddings,
  };
}

/** @throws {TypeError} naming a tensor that is missing or misshapen */
function buildStarcoder2(config: Starcoder2Config, source: TensorSource): Network {
  return buildRotaryDecoder(config, source, {
    block: (b, name, x, turns, stacks) => block(b, config, name, x, turns, stacks),
    lastNorm: (b, name, x) => layerNorm(b, config, name, x),
  });
}

function block(
  b: GraphBuilder,
  config: Starcoder2Config,
  name: string,
  x: Value,
  turns: WeightRef,
  stacks: StackedRefs,
): Value {
  const { width, innerWidth, numHeads, numKvHeads, headSize, window, biased, activation } = config;
  const { weight, bias } = stackQkv(stacks, `${name}.self_attn`, config, biased);
  const qkv = b.linear(layerNorm(b, config, `${name}.input_layernorm`, x), weight, { ...(bias && { bias }) });
  const turned = b.rotary(qkv, turns, { numHeads: numHeads + numKvHeads, headSize });
  const heads = { numHeads, numKvHeads, headSize, scale: headSize ** -0.5 };
  const attended = b.attention(turned, { ...heads, ...(window !== undefined && { window }) });
  x = linear(b, config, attended, `${name}.self_attn.o_proj`, width, { residual: x });

  const normed = layerNorm(b, config, `${name}.post_attention_layernorm`, x);
  const inner = linear(b, config, normed, `${name}.mlp.c_fc`, innerWidth, { activation });
  return linear(b, config, inner, `${name}.mlp.c_proj`, width, { residual: x });
}

function layerNorm(b: GraphBuilder, { width, epsilon }: Starcoder2Config, name: string, x: Value): Value {
  const shape = [width];
  return b.layerNorm(x, { name: `${name}.weight`, shape }, { name: `${name}.bias`, shape }, epsilon);
}

function linear(
  b: GraphBuilder,
  { biased }: Starcoder2Config,
  x: Value,
  name: string,
  outWidth: number,
  epilogue: { activation?: Activation; residual?: Value },
): Value {
  return b.linear(x, { name: `${name}.weight`, shape: [outWidth, x.width] }, {
    ...(biased && { bias: { name: `${name}.bias`, shape: [outWidth] } }),
    ...epilogue,
  });
}
