// Hyena language models: decoders that mix by a gated long convolution whose filters a small network computes from the
// position. Poli et al., "Hyena Hierarchy: Towards Larger Convolutional Language Models" (2023); Nguyen et al.,
// "HyenaDNA" (2023). Here: the configuration, the names of the tensors as tools/convert_checkpoint.py writes them and as
// HyenaDNA's Hugging Face port does, and the filters.
import { z } from "zod";
import { decayDeltas, implicitFilter, positionFeatures } from "../kernels/filters/implicit_filter.ts";
import { loadFloat32, type TensorSource, type WeightRef } from "../kernels/tensor_source.ts";
import { count, parseConfig } from "./config.ts";
import {
  type DecoderLayout,
  decoderLayout,
  type LinearRefs,
  linearRefs,
  requireLayout,
} from "./decoder_layout.ts";

/** Field names are HyenaDNA's port's; the caps keep a hostile file from asking for endless work. */
const configSchema = z.object({
  model_type: z.enum(["hyena", "hyenadna"]),
  vocab_size: count(2 ** 24),
  pad_vocab_size_multiple: count(2 ** 16).optional(),
  d_model: count(2 ** 16),
  n_layer: count(1024),
  d_inner: count(2 ** 20),
  hyena_order: z.literal(2, "must be 2").default(2),
  max_seq_len: count(2 ** 24),
  emb_dim: count(1025).min(3).refine((dims) => dims % 2 === 1, "must be odd"),
  filter_order: count(4096),
  num_inner_mlps: z.int("must be a whole number").nonnegative().max(64).default(2),
  short_filter_order: count(64).default(3),
  use_bias: z.literal(true, "must be true").default(true),
  filter_window: z.boolean().default(true),
  filter_shift: z.number().optional(),
  filter_modes: count(1024).optional(),
  layer_norm_epsilon: z.number().positive().max(1).default(1e-5),
  tie_word_embeddings: z.boolean().optional(),
});

/**
 * What the DNA models' port has where its file is silent. Their shift is that of the code published for using the
 * weights; the training code's is 0.
 */
const DEFAULTS = {
  hyena: { padding: 1, shift: 0, tied: true },
  hyenadna: { padding: 8, shift: 0.05, tied: false },
};

export interface HyenaConfig {
  readonly vocabSize: number;
  /** Positions that filters are made for: no text may be longer, and filters of another length are other filters. */
  readonly contextLength: number;
  readonly width: number;
  readonly numLayers: number;
  readonly innerWidth: number;
  /** Of the final norm. */
  readonly epsilon: number;
  readonly tiedHead: boolean;
  /** Taps of the short convolution. */
  readonly shortTaps: number;
  readonly positionFeatures: number;
  readonly filterWidth: number;
  readonly numInnerLayers: number;
  /** Whether filters decay. */
  readonly window: boolean;
  readonly shift: number;
  /** Complex modes of a filter where they stand in its place (models/distil.ts); undefined where filters are exact. */
  readonly numModes: number | undefined;
}

/** @throws {TypeError} naming the field at fault */
export function parseHyenaConfig(json: unknown): HyenaConfig {
  const config = parseConfig(configSchema, json, "config.json");
  const { padding, shift, tied } = DEFAULTS[config.model_type];
  const multiple = config.pad_vocab_size_multiple ?? padding;
  return {
    vocabSize: Math.ceil(config.vocab_size / multiple) * multiple,
    contextLength: config.max_seq_len,
    width: config.d_model,
    numLayers: config.n_layer,
    innerWidth: config.d_inner,
    epsilon: config.layer_norm_epsilon,
    tiedHead: config.tie_word_embeddings ?? tied,
    shortTaps: config.short_filter_order,
    positionFeatures: config.emb_dim,
    filterWidth: config.filter_order,
    numInnerLayers: config.num_inner_mlps,
    window: config.filter_window,
    shift: config.filter_shift ?? shift,
    numModes: config.filter_modes,
  };
}

export interface HyenaMixerRefs {
  /** Rows of the gate after the convolution (x0), of that before it (x1), and of v. */
  readonly in: LinearRefs;
  /** [channels, 1, taps], the last tap for the newest token, and [channels]: channels of `in`. */
  readonly short: LinearRefs;
  readonly out: LinearRefs;
  readonly long: HyenaFilterRefs | HyenaModalRefs;
}

export interface HyenaFilterRefs {
  readonly form: "filter";
  /** The share of what goes into the long convolution that is added to what comes out, [width]. */
  readonly skip: WeightRef;
  readonly frequency: WeightRef;
  readonly sineLayers: readonly LinearRefs[];
  readonly output: WeightRef;
  /** Undefined where they are to be computed. */
  readonly positions: WeightRef | undefined;
  readonly decay: WeightRef | undefined;
}

/** Distilled: s <- poles s + u, y = Re sum of residues s + skip u. */
export interface HyenaModalRefs {
  readonly form: "modal";
  /** [width, 2 modes]: real and imaginary part in turn. */
  readonly poles: WeightRef;
  readonly residues: WeightRef;
  /** [width] */
  readonly skip: WeightRef;
}

export interface HyenaLayout extends DecoderLayout {
  readonly mixers: readonly HyenaMixerRefs[];
}

/**
 * All tensors of a model, found in the source in their shapes.
 * @throws {TypeError} naming one that is missing or misshapen
 */
export function hyenaLayout(config: HyenaConfig, source: TensorSource): HyenaLayout {
  const layout = hyenaRefs(config, source);
  requireLayout(source, layout);
  return layout;
}

/** The same, unchecked; the source is asked only which of the names that differ between files it has. */
export function hyenaRefs(config: HyenaConfig, source: TensorSource): HyenaLayout {
  const prefix = source.find("hyena.backbone.ln_f.weight") ? "hyena.backbone." : "backbone.";
  const mixers = Array.from(
    { length: config.numLayers },
    (_, i) => mixerRefs(config, source, `${prefix}layers.${i}.mixer`),
  );
  return { ...decoderLayout(config, prefix), mixers };
}

function mixerRefs(config: HyenaConfig, source: TensorSource, at: string): HyenaMixerRefs {
  const { width, shortTaps } = config;
  return {
    in: linearRefs(`${at}.in_proj`, 3 * width, width),
    short: {
      weight: { name: `${at}.short_filter.weight`, shape: [3 * width, 1, shortTaps] },
      bias: { name: `${at}.short_filter.bias`, shape: [3 * width] },
    },
    out: linearRefs(`${at}.out_proj`, width, width),
    long: config.numModes === undefined
      ? filterRefs(config, source, `${at}.filter_fn`)
      : modalRefs(width, config.numModes, at),
  };
}

export function modalRefs(width: number, numModes: number, at: string): HyenaModalRefs {
  return {
    form: "modal",
    poles: { name: `${at}.modal.poles`, shape: [width, 2 * numModes] },
    residues: { name: `${at}.modal.residues`, shape: [width, 2 * numModes] },
    skip: { name: `${at}.modal.skip`, shape: [width] },
  };
}

function filterRefs(config: HyenaConfig, source: TensorSource, at: string): HyenaFilterRefs {
  const { width, filterWidth, numInnerLayers, contextLength } = config, net = `${at}.implicit_filter`;
  const optional = (name: string, shape: number[]) => source.find(name) ? { name, shape } : undefined;
  return {
    form: "filter",
    skip: { name: `${at}.bias`, shape: [width] },
    frequency: { name: frequencyName(source, net, numInnerLayers), shape: [1, filterWidth] },
    sineLayers: Array.from(
      { length: numInnerLayers + 1 },
      (_, i) => linearRefs(`${net}.${2 * i}`, filterWidth, i === 0 ? config.positionFeatures : filterWidth),
    ),
    output: { name: `${net}.${2 * numInnerLayers + 2}.weight`, shape: [width, filterWidth] },
    positions: optional(`${at}.pos_emb.z`, [1, contextLength, config.positionFeatures]),
    decay: optional(`${at}.modulation.deltas`, [1, 1, width]),
  };
}

/** All sines share one vector, of which writers of safetensors keep any one name. */
function frequencyName(source: TensorSource, net: string, numInnerLayers: number): string {
  const names = Array.from({ length: numInnerLayers + 1 }, (_, i) => `${net}.${2 * i + 1}.freq`);
  return names.find((name) => source.find(name)) ?? names[0];
}

/** A layer's filters [channels, contextLength] in float64, the skip term in lag 0. */
export async function loadHyenaFilter(
  config: HyenaConfig,
  source: TensorSource,
  refs: HyenaFilterRefs,
): Promise<Float64Array> {
  const read = (ref: WeightRef) => loadFloat32(source, ref);
  const { contextLength: length, width } = config;
  const deltas = refs.decay ? await read(refs.decay) : decayDeltas(width);
  const taps = implicitFilter({
    features: refs.positions
      ? await read(refs.positions)
      : positionFeatures(length, (config.positionFeatures - 1) / 2),
    frequencies: await read(refs.frequency),
    sineLayers: await Promise.all(
      refs.sineLayers.map(async ({ weight, bias }) => ({
        weight: await read(weight),
        bias: await read(bias),
      })),
    ),
    lastLayer: { weight: await read(refs.output) },
    ...(config.window && { deltas, shift: config.shift }),
  }, length);
  (await read(refs.skip)).forEach((share, c) => taps[c * length] += share);
  return taps;
}
