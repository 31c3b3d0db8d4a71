// H3 hybrids: decoders whose layers mix by two state-space models and two products, one to three of them by attention.
// Fu, Dao et al., "Hungry Hungry Hippos: Towards Language Modeling with State Space Models" (2022). Here: the
// configuration, the names of the tensors as tools/convert_checkpoint.py writes them, and what is computed of them once.
import { z } from "zod";
import { type DiscreteSsm, discretise } from "../kernels/filters/diagonal_filter.ts";
import type { ComplexArray } from "../kernels/filters/fourier.ts";
import { shiftFilter } from "../kernels/filters/shift_filter.ts";
import { loadFloat32, type TensorSource, type WeightRef } from "../kernels/tensor_source.ts";
import { complexZeros, fromPairs } from "./complex_array.ts";
import { count, parseConfig } from "./config.ts";
import {
  type DecoderLayout,
  decoderLayout,
  type LinearRefs,
  linearRefs,
  requireLayout,
} from "./decoder_layout.ts";

/** The caps keep a hostile file from asking for endless work. */
const configSchema = z.object({
  vocab_size: count(2 ** 24),
  hidden_size: count(2 ** 16),
  num_hidden_layers: count(1024),
  intermediate_size: count(2 ** 20),
  attention_layers: z.array(z.int().nonnegative()).default([]),
  num_attention_heads: count(1024),
  rotary_dims: z.int().nonnegative().multipleOf(2, "must be even").default(0),
  rotary_base: z.number().positive().default(10_000),
  state_size: count(4096).multipleOf(2, "must be even").default(64),
  max_position_embeddings: count(2 ** 24),
  layer_norm_epsilon: z.number().positive().max(1).default(1e-5),
  tie_word_embeddings: z.boolean().default(true),
}).refine(
  (config) => config.attention_layers.every((layer, i, all) => i === 0 || layer > all[i - 1]),
  { path: ["attention_layers"], error: "must be in ascending order, each once" },
).refine((config) => (config.attention_layers.at(-1) ?? 0) < config.num_hidden_layers, {
  path: ["attention_layers"],
  error: "must be below num_hidden_layers",
}).refine((config) => config.hidden_size % config.num_attention_heads === 0, {
  path: ["hidden_size"],
  error: "must be a multiple of num_attention_heads",
}).refine((config) => config.rotary_dims <= config.hidden_size / config.num_attention_heads, {
  path: ["rotary_dims"],
  error: "must not be more than a head has (hidden_size / num_attention_heads)",
});

export interface H3Config {
  readonly vocabSize: number;
  readonly contextLength: number;
  readonly width: number;
  readonly numLayers: number;
  readonly innerWidth: number;
  /** Of the final norm. */
  readonly epsilon: number;
  readonly tiedHead: boolean;
  /** Layers that attend, ascending; all others are H3. */
  readonly attentionLayers: readonly number[];
  readonly numHeads: number;
  /** How many dimensions of a head of q and k are turned by position, from the first on: 0 is none. */
  readonly rotaryDims: number;
  readonly rotaryBase: number;
  /** Taps of the shift SSM. */
  readonly numTaps: number;
  /** Complex modes of the diagonal SSM. */
  readonly numModes: number;
}

/** @throws {TypeError} naming the field at fault */
export function parseH3Config(json: unknown): H3Config {
  const config = parseConfig(configSchema, json, "config.json");
  return {
    vocabSize: config.vocab_size,
    contextLength: config.max_position_embeddings,
    width: config.hidden_size,
    numLayers: config.num_hidden_layers,
    innerWidth: config.intermediate_size,
    epsilon: config.layer_norm_epsilon,
    tiedHead: config.tie_word_embeddings,
    attentionLayers: config.attention_layers,
    numHeads: config.num_attention_heads,
    rotaryDims: config.rotary_dims,
    rotaryBase: config.rotary_base,
    numTaps: config.state_size,
    numModes: config.state_size / 2,
  };
}

export interface H3MixerRefs {
  /** Rows of q, then of k, then of v. */
  readonly qkv: LinearRefs;
  readonly out: LinearRefs;
  /** Of H3 layers. */
  readonly ssm?: H3SsmRefs;
}

export interface H3SsmRefs {
  readonly shiftB: WeightRef;
  readonly shiftC: WeightRef;
  readonly shiftSkip: WeightRef;
  readonly logDt: WeightRef;
  readonly invAReal: WeightRef;
  readonly aImag: WeightRef;
  readonly b: WeightRef;
  readonly c: WeightRef;
  readonly skip: WeightRef;
}

export interface H3Layout extends DecoderLayout {
  readonly mixers: readonly H3MixerRefs[];
}

/**
 * All tensors of a model, found in the source in their shapes.
 * @throws {TypeError} naming one that is missing or misshapen, or what to do with a checkpoint that is not converted
 */
export function h3Layout(config: H3Config, source: TensorSource): H3Layout {
  refuseUnconverted(source);
  const layout = h3Refs(config);
  requireLayout(source, layout);
  return layout;
}

/** The same, of a model that nobody has opened. */
export function h3Refs(config: H3Config): H3Layout {
  const mixers = Array.from({ length: config.numLayers }, (_, i) => mixerRefs(config, i));
  return { ...decoderLayout(config, "backbone."), mixers };
}

function refuseUnconverted(source: TensorSource): void {
  const found = ["backbone.layers.0.mixer.q_proj.weight", "backbone.ln_0.weight", "embedding.weight"]
    .find((name) => source.find(name));
  if (!found) return;
  throw new TypeError(
    `Cannot load model: it has "${found}", as its authors' programs name it; convert it with tools/convert_checkpoint.py`,
  );
}

function mixerRefs(config: H3Config, layer: number): H3MixerRefs {
  const { width } = config, at = `backbone.layers.${layer}.mixer`;
  const projections = {
    qkv: linearRefs(`${at}.Wqkv`, 3 * width, width),
    out: linearRefs(`${at}.out_proj`, width, width),
  };
  return config.attentionLayers.includes(layer) ? projections : { ...projections, ssm: ssmRefs(config, at) };
}

function ssmRefs({ width, numTaps, numModes }: H3Config, at: string): H3SsmRefs {
  const shift = `${at}.ssm_k_kernel.kernel`, diagonal = `${at}.kernel.kernel`;
  return {
    shiftB: { name: `${shift}.B`, shape: [width, numTaps] },
    shiftC: { name: `${shift}.C`, shape: [1, width, numTaps] },
    shiftSkip: { name: `${at}.ssm_k_D`, shape: [width] },
    logDt: { name: `${diagonal}.log_dt`, shape: [width] },
    invAReal: { name: `${diagonal}.inv_A_real`, shape: [width, numModes] },
    aImag: { name: `${diagonal}.A_imag`, shape: [width, numModes] },
    b: { name: `${diagonal}.B`, shape: [width, numModes, 2] },
    c: { name: `${diagonal}.C`, shape: [1, width, numModes, 2] },
    skip: { name: `${at}.D`, shape: [width] },
  };
}

/** What an H3 layer's step computes with besides its projections. */
export interface H3Tables {
  /** [channels, taps] by lag, the skip of k in lag 0. */
  readonly taps: Float64Array;
  /** Each [channels, modes]. */
  readonly ssm: DiscreteSsm;
  /** [channels] */
  readonly skip: Float64Array;
}

/** A layer's state-space parameters, [channels, taps or modes] but for those that every channel has one of. */
export interface H3Parameters {
  readonly shiftB: ArrayLike<number>;
  readonly shiftC: ArrayLike<number>;
  readonly shiftSkip: ArrayLike<number>;
  readonly logDt: ArrayLike<number>;
  readonly invAReal: ArrayLike<number>;
  readonly aImag: ArrayLike<number>;
  readonly b: ComplexArray;
  readonly c: ComplexArray;
  readonly skip: ArrayLike<number>;
}

/** Reads a layer's state-space parameters and makes its tables of them, in float64. */
export async function loadH3Tables(source: TensorSource, refs: H3SsmRefs): Promise<H3Tables> {
  const read = async (ref: WeightRef) => Float64Array.from(await loadFloat32(source, ref));
  return h3Tables({
    shiftB: await read(refs.shiftB),
    shiftC: await read(refs.shiftC),
    shiftSkip: await read(refs.shiftSkip),
    logDt: await read(refs.logDt),
    invAReal: await read(refs.invAReal),
    aImag: await read(refs.aImag),
    b: fromPairs(await read(refs.b)),
    c: fromPairs(await read(refs.c)),
    skip: await read(refs.skip),
  });
}

export function h3Tables(parameters: H3Parameters): H3Tables {
  const { shiftB, shiftC, shiftSkip, logDt, invAReal, aImag, b, c, skip } = parameters;
  const channels = skip.length, numTaps = shiftC.length / channels, numModes = aImag.length / channels;
  const taps = new Float64Array(shiftC.length), total = aImag.length;
  const ssm = { poles: complexZeros(total), inputs: complexZeros(total), residues: complexZeros(total) };
  for (let channel = 0; channel < channels; channel++) {
    const ofTaps = (values: ArrayLike<number>) => part(values, channel * numTaps, numTaps);
    const ofModes = (values: ArrayLike<number>) => part(values, channel * numModes, numModes);
    taps.set(shiftFilter(ofTaps(shiftB), ofTaps(shiftC), shiftSkip[channel]), channel * numTaps);
    const discrete = discretise({
      logDt: logDt[channel],
      invAReal: ofModes(invAReal),
      aImag: ofModes(aImag),
      b: { re: ofModes(b.re), im: ofModes(b.im) },
      c: { re: ofModes(c.re), im: ofModes(c.im) },
    });
    for (const name of ["poles", "inputs", "residues"] as const) {
      ssm[name].re.set(discrete[name].re, channel * numModes);
      ssm[name].im.set(discrete[name].im, channel * numModes);
    }
  }
  return { taps, ssm, skip: Float64Array.from(skip) };
}

function part(values: ArrayLike<number>, start: number, length: number): Float64Array {
  return new Float64Array(length).map((_, i) => values[start + i]);
}
