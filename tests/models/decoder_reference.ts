// Float64 reference of the decoders that H3 and Hyena share, with plain loops: a whole text at once, or a prompt and then
// token by token on a state. What mixes tokens is each layer's own (h3_reference.ts, hyena_reference.ts).
import { layerNormReference } from "../../kernels/layer_norm/reference.ts";
import { linearReference } from "../../kernels/linear/reference.ts";
import { loadFloat32, type TensorSource } from "../../kernels/tensor_source.ts";
import type { ComplexArray } from "../../kernels/filters/fourier.ts";
import {
  BLOCK_EPSILON,
  type DecoderLayout,
  type LinearRefs,
  type NormRefs,
} from "../../models/decoder_layout.ts";

export interface Linear {
  /** [outputs, inputs] */
  readonly weight: ArrayLike<number>;
  readonly bias: ArrayLike<number>;
}

/** What a layer keeps of the tokens before. */
export type MixerState = unknown;

/** Mixes rows [tokens, width]. The three ways to compute the same share as little as they can. */
export interface Mixer<State = MixerState> {
  /** A whole text, without any state. */
  forward(x: Float64Array): Float64Array;
  newState(): State;
  /** The next tokens of a text, several at once. */
  advance(x: Float64Array, state: State): Float64Array;
  /** The next token. */
  step(x: Float64Array, state: State): Float64Array;
}

export async function loadLinear(source: TensorSource, { weight, bias }: LinearRefs) {
  return { weight: await loadFloat32(source, weight), bias: await loadFloat32(source, bias) };
}

export function applyLinear({ weight, bias }: Linear, x: Float64Array): Float64Array {
  const outputs = bias.length, inputs = weight.length / outputs;
  return new Float64Array(x.length / inputs * outputs).map((_, at) => {
    const row = Math.floor(at / outputs), n = at % outputs;
    let sum = bias[n];
    for (let k = 0; k < inputs; k++) sum += weight[n * inputs + k] * x[row * inputs + k];
    return sum;
  });
}

interface Norm {
  readonly scale: Float32Array;
  readonly bias: Float32Array;
}

interface MlpLinear {
  readonly weight: Float32Array;
  readonly bias: Float32Array;
}

interface Block {
  readonly norm1: Norm;
  readonly norm2: Norm;
  readonly fc1: MlpLinear;
  readonly fc2: MlpLinear;
}

export class DecoderReference {
  readonly width: number;
  readonly vocabSize: number;
  readonly #embedding: Float32Array;
  readonly #head: Float32Array;
  readonly #blocks: readonly Block[];
  readonly #finalNorm: Norm;
  readonly #epsilon: number;
  readonly #mixers: readonly Mixer[];

  private constructor(
    sizes: readonly number[],
    embedding: Float32Array,
    head: Float32Array,
    blocks: readonly Block[],
    finalNorm: Norm,
    epsilon: number,
    mixers: readonly Mixer[],
  ) {
    [this.vocabSize, this.width] = sizes;
    this.#embedding = embedding;
    this.#head = head;
    this.#blocks = blocks;
    this.#finalNorm = finalNorm;
    this.#epsilon = epsilon;
    this.#mixers = mixers;
  }

  /** @param epsilon of the final norm */
  static async load(
    source: TensorSource,
    layout: DecoderLayout,
    epsilon: number,
    mixers: readonly Mixer[],
  ): Promise<DecoderReference> {
    const norm = async ({ scale, bias }: NormRefs) => ({
      scale: await loadFloat32(source, scale),
      bias: await loadFloat32(source, bias),
    });
    const blocks = await Promise.all(layout.blocks.map(async ({ norm1, norm2, fc1, fc2 }) => ({
      norm1: await norm(norm1),
      norm2: await norm(norm2),
      fc1: await loadLinear(source, fc1),
      fc2: await loadLinear(source, fc2),
    })));
    return new DecoderReference(
      layout.embedding.shape,
      await loadFloat32(source, layout.embedding),
      await loadFloat32(source, layout.head),
      blocks,
      await norm(layout.finalNorm),
      epsilon,
      mixers,
    );
  }

  /** Logits [tokens, vocabulary] of a whole text. */
  forward(ids: readonly number[]): Float64Array {
    return this.#run(ids, (mixer, x) => mixer.forward(x));
  }

  newStates(): MixerState[] {
    return this.#mixers.map((mixer) => mixer.newState());
  }

  /** Logits [tokens, vocabulary] of the next tokens, at once. */
  advance(ids: readonly number[], states: MixerState[]): Float64Array {
    return this.#run(ids, (mixer, x, layer) => mixer.advance(x, states[layer]));
  }

  /** Logits [vocabulary] of the next token. */
  step(id: number, states: MixerState[]): Float64Array {
    return this.#run([id], (mixer, x, layer) => mixer.step(x, states[layer]));
  }

  #run(
    ids: readonly number[],
    mix: (mixer: Mixer, x: Float64Array, layer: number) => Float64Array,
  ): Float64Array {
    const { width } = this;
    let x: Float64Array = new Float64Array(ids.length * width);
    ids.forEach((id, row) => x.set(this.#embedding.subarray(id * width, (id + 1) * width), row * width));
    this.#blocks.forEach(({ norm1, norm2, fc1, fc2 }, layer) => {
      const mixed = mix(this.#mixers[layer], normalise(x, norm1, BLOCK_EPSILON), layer);
      x = x.map((value, i) => value + mixed[i]);
      const inner = linearReference(normalise(x, norm2, BLOCK_EPSILON), fc1.weight, width, {
        bias: fc1.bias,
        activation: "gelu_tanh",
      });
      x = linearReference(inner, fc2.weight, inner.length / ids.length, { bias: fc2.bias, residual: x });
    });
    return linearReference(normalise(x, this.#finalNorm, this.#epsilon), this.#head, width, {});
  }
}

function normalise(x: Float64Array, { scale, bias }: Norm, epsilon: number): Float64Array {
  return layerNormReference(x, scale, bias, epsilon);
}

/**
 * y[t, c] = sum over j <= t of taps[c, t - j] x[j, c]; taps [channels, numTaps], zero beyond them; x, y [tokens, channels].
 */
export function causalConvolution(taps: Float64Array, x: Float64Array, channels: number): Float64Array {
  const numTaps = taps.length / channels, y = new Float64Array(x.length);
  for (let at = 0; at < x.length; at++) {
    const t = Math.floor(at / channels), c = at % channels;
    for (let lag = 0; lag <= Math.min(t, numTaps - 1); lag++) {
      y[at] += taps[c * numTaps + lag] * x[(t - lag) * channels + c];
    }
  }
  return y;
}

/** Columns [start, end) of rows that are `width` wide. */
export function columns(x: Float64Array, width: number, start: number, end: number): Float64Array {
  const part = end - start;
  return new Float64Array(x.length / width * part).map((_, at) =>
    x[Math.floor(at / part) * width + start + at % part]
  );
}

export function product(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value * b[i]);
}

export function concat(a: Float64Array, b: Float64Array): Float64Array {
  const both = new Float64Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}

export function addTo(sum: ComplexArray, more: ComplexArray): void {
  more.re.forEach((value, i) => sum.re[i] += value);
  more.im.forEach((value, i) => sum.im[i] += value);
}
