// Qwen2 and Qwen2.5 (Coder): pre-RMSNorm decoders with rotary positions, grouped-query attention with biases and a gated
// MLP. Yang et al., "Qwen2 Technical Report" (2024), section 2.2; Hui et al., "Qwen2.5-Coder Technical Report" (2024).
import { z } from "zod";
import { columnsOf } from "../kernels/columns.ts";
import type { Value } from "../kernels/graph.ts";
import type { GraphBuilder } from "../kernels/graph_builder.ts";
import type { TensorSource, WeightRef } from "../kernels/tensor_source.ts";
import { count, parseConfig } from "./config.ts";
import type { Architecture, Network } from "./network.ts";
import { hasEvenHeads, headSizeOf, ODD_HEADS, rotaryBaseOf, rotaryFields } from "./rotary_config.ts";
import { buildRotaryDecoder, type RotaryDecoderConfig } from "./rotary_decoder.ts";
import { type StackedRefs, stackQkv } from "./stacked_refs.ts";

export const qwen2: Architecture = {
  modelType: "qwen2",
  build: (config, source) => buildQwen2(parseQwen2Config(config), source),
};

/** Defaults are transformers' own; the caps keep a hostile file from asking for endless work. */
const configSchema = z.object({
  model_type: z.literal("qwen2"),
  vocab_size: count(2 ** 24).default(151_936),
  hidden_size: count(2 ** 16).default(4096),
  intermediate_size: count(2 ** 20).default(22_016),
  num_hidden_layers: count(1024).default(32),
  num_attention_heads: count(1024).default(32),
  num_key_value_heads: count(1024).nullish(),
  head_dim: count(1024).nullish(),
  hidden_act: z.literal("silu", "must be silu").default("silu"),
  max_position_embeddings: count(2 ** 24).default(32_768),
  rms_norm_eps: z.number().positive().max(1).default(1e-6),
  ...rotaryFields,
  use_sliding_window: z.literal(false, "a sliding window is not supported, must be false").default(false),
  layer_types: z.array(z.literal("full_attention", "must be full_attention")).nullish(),
  tie_word_embeddings: z.boolean().default(false),
}).refine(
  (config) => config.num_attention_heads % (config.num_key_value_heads ?? config.num_attention_heads) === 0,
  {
    path: ["num_key_value_heads"],
    error: "must divide num_attention_heads",
  },
).refine(hasEvenHeads, ODD_HEADS);

export type Qwen2Config = RotaryDecoderConfig;

/** @throws {TypeError} naming the field at fault */
export function parseQwen2Config(json: unknown): Qwen2Config {
  const config = parseConfig(configSchema, json, "config.json");
  return {
    vocabSize: config.vocab_size,
    contextLength: config.max_position_embeddings,
    width: config.hidden_size,
    innerWidth: config.intermediate_size,
    numLayers: config.num_hidden_layers,
    numHeads: config.num_attention_heads,
    numKvHeads: config.num_key_value_heads ?? config.num_attention_heads,
    headSize: headSizeOf(config),
    rotaryBase: rotaryBaseOf(config),
    epsilon: config.rms_norm_eps,
    tiedHead: config.tie_word_embeddings,
  };
}

/** @throws {TypeError} naming a tensor that is missing or misshapen */
function buildQwen2(config: Qwen2Config, source: TensorSource): Network {
  const { width, epsilon } = config;
  return buildRotaryDecoder(config, source, {
    block: (b, name, x, turns, stacks) => block(b, config, name, x, turns, stacks),
    lastNorm: (b, name, x) => b.rmsNorm(x, { name: `${name}.weight`, shape: [width] }, epsilon),
  });
}

function block(
  b: GraphBuilder,
  config: Qwen2Config,
  name: string,
  x: Value,
  turns: WeightRef,
  stacks: StackedRefs,
): Value {
  const { width, innerWidth, numHeads, numKvHeads, headSize, epsilon } = config;
  const norm = (which: string) => b.rmsNorm(x, { name: `${name}.${which}.weight`, shape: [width] }, epsilon);
  const weight = (which: string, ...shape: number[]): WeightRef => ({
    name: `${name}.${which}.weight`,
    shape,
  });

  const { weight: qkvWeight, bias } = stackQkv(stacks, `${name}.self_attn`, config, true);
  const qkv = b.linear(norm("input_layernorm"), qkvWeight, { ...(bias && { bias }) });
  const turned = b.rotary(qkv, turns, { numHeads: numHeads + numKvHeads, headSize });
  const attended = b.attention(turned, { numHeads, numKvHeads, headSize, scale: headSize ** -0.5 });
  x = b.linear(attended, weight("self_attn.o_proj", width, numHeads * headSize), { residual: x });

  const inner = b.linear(
    norm("post_attention_layernorm"),
    stacks.stack(
      `${name}.mlp.gate_up_proj.weight`,
      ["gate_proj", "up_proj"].map((part) => `${name}.mlp.${part}.weight`),
      [innerWidth, innerWidth],
      [width],
    ),
  );
  const gated = b.gated(columnsOf(inner, innerWidth, innerWidth), columnsOf(inner, 0, innerWidth));
  return b.linear(gated, weight("mlp.down_proj", width, innerWidth), { residual: x });
}
