// StripedHyena language models (Poli et al. 2023): decoders whose layers mix by gated modal filters, and some by attention
// with rotary positions. Here: the configuration as published, and the names of the tensors.
import { z } from "zod";
import type { TensorSource, WeightRef } from "../kernels/tensor_source.ts";
import { count, parseConfig } from "./config.ts";
import { type LinearRefs, requireLayout } from "./decoder_layout.ts";

const only = <Value extends boolean | number>(value: Value) =>
  z.literal(value as never, `must be ${value}`).optional();

/** Field names are the published ones; the caps keep a hostile file from asking for endless work. */
const configSchema = z.object({
  model_type: z.literal("stripedhyena"),
  vocab_size: count(2 ** 24),
  hidden_size: count(2 ** 16),
  inner_mlp_size: count(2 ** 20),
  num_layers: count(1024),
  attn_layer_idxs: z.array(z.int().nonnegative()).default([]),
  num_attention_heads: count(1024),
  proj_groups: count(1024).default(1),
  rotary_emb_base: z.number().positive().default(10_000),
  short_filter_length: count(64).default(3),
  short_filter_bias: only(true),
  state_size: count(256),
  hyena_filter_groups: only(1),
  column_split: only(false),
  column_split_hyena: only(true),
  qkv_proj_bias: only(false),
  mha_out_proj_bias: only(false),
  final_norm: only(true),
  tie_embeddings: z.boolean().default(false),
  eps: z.number().positive().max(1).default(1e-5),
  max_seqlen: count(2 ** 24),
}).refine((config) => config.hidden_size % config.num_attention_heads === 0, {
  path: ["num_attention_heads"],
  error: ({ input }) =>
    `must divide hidden_size ${(input as { hidden_size: number }).hidden_size}, received ${
      (input as { num_attention_heads: number }).num_attention_heads
    }`,
}).refine((config) => config.num_attention_heads % config.proj_groups === 0, {
  path: ["proj_groups"],
  error: ({ input }) =>
    `must divide num_attention_heads ${
      (input as { num_attention_heads: number }).num_attention_heads
    }, received ${(input as { proj_groups: number }).proj_groups}`,
}).refine((config) => config.hidden_size / config.num_attention_heads % 2 === 0, {
  path: ["hidden_size"],
  error: "must give heads of even size, for rotary positions",
});

export interface StripedHyenaConfig {
  readonly vocabSize: number;
  readonly contextLength: number;
  readonly width: number;
  readonly innerWidth: number;
  readonly numLayers: number;
  readonly attentionLayers: readonly number[];
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly rotaryBase: number;
  readonly shortTaps: number;
  /** Complex modes of a channel's filter. */
  readonly numModes: number;
  readonly tiedHead: boolean;
  readonly epsilon: number;
}

/** @throws {TypeError} naming the field at fault */
export function parseStripedHyenaConfig(json: unknown): StripedHyenaConfig {
  const config = parseConfig(configSchema, json, "config.json");
  return {
    vocabSize: config.vocab_size,
    contextLength: config.max_seqlen,
    width: config.hidden_size,
    innerWidth: config.inner_mlp_size,
    numLayers: config.num_layers,
    // Published files list layers that do not exist.
    attentionLayers: config.attn_layer_idxs.filter((layer) => layer < config.num_layers),
    numHeads: config.num_attention_heads,
    numKvHeads: config.num_attention_heads / config.proj_groups,
    rotaryBase: config.rotary_emb_base,
    shortTaps: config.short_filter_length,
    numModes: config.state_size,
    tiedHead: config.tie_embeddings,
    epsilon: config.eps,
  };
}

export interface StripedMixerRefs {
  readonly form: "modal";
  /** Stored head by head: see stripedRowOrder. */
  readonly in: LinearRefs;
  /** [3 width, 1, taps], the last tap for the newest token, and [3 width]: rows as of `in`. */
  readonly short: LinearRefs;
  /** [width, modes, 1, 2] */
  readonly poles: WeightRef;
  readonly residues: WeightRef;
  /** [width] */
  readonly skip: WeightRef;
  readonly out: LinearRefs;
}

export interface StripedAttentionRefs {
  readonly form: "attention";
  /** Rows of all query heads, then of the heads of keys, then of values. */
  readonly qkv: WeightRef;
  readonly out: WeightRef;
}

export interface StripedBlockRefs {
  readonly norm1: WeightRef;
  readonly norm2: WeightRef;
  readonly mixer: StripedMixerRefs | StripedAttentionRefs;
  /** [inner, width], of which the first goes through SiLU, and [width, inner]. */
  readonly mlp: { readonly gate: WeightRef; readonly up: WeightRef; readonly down: WeightRef };
}

export interface StripedHyenaLayout {
  readonly embedding: WeightRef;
  readonly blocks: readonly StripedBlockRefs[];
  readonly finalNorm: WeightRef;
  readonly head: WeightRef;
}

/**
 * All tensors of a model, found in the source in their shapes.
 * @throws {TypeError} naming one that is missing or misshapen
 */
export function stripedHyenaLayout(config: StripedHyenaConfig, source: TensorSource): StripedHyenaLayout {
  const layout = stripedHyenaRefs(config, source);
  requireLayout(source, layout);
  return layout;
}

/** The same, unchecked; the source is asked only which of the names that differ between files it has. */
export function stripedHyenaRefs(config: StripedHyenaConfig, source: TensorSource): StripedHyenaLayout {
  // The port on the hub has the model in a wrapper.
  const prefix = source.find("backbone.embedding_layer.weight") ? "backbone." : "";
  const { vocabSize, width, innerWidth, numLayers, tiedHead } = config;
  const ref = (name: string, ...shape: number[]): WeightRef => ({ name: `${prefix}${name}`, shape });
  const embedding = ref("embedding_layer.weight", vocabSize, width);
  return {
    embedding,
    blocks: Array.from({ length: numLayers }, (_, layer): StripedBlockRefs => {
      const at = `blocks.${layer}`;
      return {
        norm1: ref(`${at}.pre_norm.scale`, width),
        norm2: ref(`${at}.post_norm.scale`, width),
        mixer: config.attentionLayers.includes(layer)
          ? attentionRefs(config, `${at}.inner_mha_cls`, ref)
          : mixerRefs(config, at, ref),
        mlp: {
          gate: ref(`${at}.mlp.l1.weight`, innerWidth, width),
          up: ref(`${at}.mlp.l2.weight`, innerWidth, width),
          down: ref(`${at}.mlp.l3.weight`, width, innerWidth),
        },
      };
    }),
    finalNorm: ref("norm.scale", width),
    head: tiedHead ? embedding : ref("unembed.weight", vocabSize, width),
  };
}

type MakeRef = (name: string, ...shape: number[]) => WeightRef;

function mixerRefs(
  { width, numHeads, numModes, shortTaps }: StripedHyenaConfig,
  at: string,
  ref: MakeRef,
): StripedMixerRefs {
  const rowOrder = stripedRowOrder(width, numHeads);
  const modes = (name: string) => ref(`${at}.filter.${name}`, width, numModes, 1, 2);
  return {
    form: "modal",
    in: {
      weight: { ...ref(`${at}.projections.weight`, 3 * width, width), rowOrder },
      bias: { ...ref(`${at}.projections.bias`, 3 * width), rowOrder },
    },
    short: {
      weight: { ...ref(`${at}.filter.short_filter_weight`, 3 * width, 1, shortTaps), rowOrder },
      bias: { ...ref(`${at}.filter.short_filter_bias`, 3 * width), rowOrder },
    },
    poles: modes("poles"),
    residues: modes("residues"),
    skip: ref(`${at}.filter.D`, width),
    out: {
      weight: ref(`${at}.out_filter_dense.weight`, width, width),
      bias: ref(`${at}.out_filter_dense.bias`, width),
    },
  };
}

function attentionRefs(
  { width, numHeads, numKvHeads }: StripedHyenaConfig,
  at: string,
  ref: MakeRef,
): StripedAttentionRefs {
  const rows = (numHeads + 2 * numKvHeads) * width / numHeads;
  return {
    form: "attention",
    qkv: ref(`${at}.Wqkv.weight`, rows, width),
    out: ref(`${at}.out_proj.weight`, width, width),
  };
}

/**
 * The stored row of each row of [x2 | x1 | v], for the projection, its bias and the short filter alike: they are stored
 * head by head, [x2 | x1 | v] of each. x2 is the gate after the convolution, x1 that before it.
 */
export function stripedRowOrder(width: number, numHeads: number): Uint32Array {
  const size = width / numHeads;
  return Uint32Array.from({ length: 3 * width }, (_, row) => {
    const part = Math.floor(row / width), channel = row % width, head = Math.floor(channel / size);
    return (3 * head + part) * size + channel % size;
  });
}
