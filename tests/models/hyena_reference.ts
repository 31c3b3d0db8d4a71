// Float64 reference of the Hyena operator of any order, its long convolution either exact, by a filter and the cached
// inputs, or in modal form, by a recurrence of fixed size (distilled filters, StripedHyena).
import { type ModalFilter, modalTaps } from "../../kernels/filters/diagonal_filter.ts";
import type { ComplexArray } from "../../kernels/filters/fourier.ts";
import { loadFloat32, type TensorSource, type WeightRef } from "../../kernels/tensor_source.ts";
import { complexPower, complexZeros, fromPairs } from "../../models/complex_array.ts";
import { type HyenaConfig, type HyenaLayout, hyenaLayout, loadHyenaFilter } from "../../models/hyena.ts";
import {
  addTo,
  applyLinear,
  causalConvolution,
  columns,
  concat,
  DecoderReference,
  type Linear,
  loadLinear,
  type Mixer,
  product,
} from "./decoder_reference.ts";

export async function loadHyenaReference(
  config: HyenaConfig,
  source: TensorSource,
): Promise<DecoderReference> {
  const layout = hyenaLayout(config, source);
  const mixers = await Promise.all(layout.mixers.map(async (refs) =>
    new HyenaMixer({
      in: await loadLinear(source, refs.in),
      short: {
        weight: await loadFloat32(source, refs.short.weight),
        bias: await loadFloat32(source, refs.short.bias),
      },
      out: await loadLinear(source, refs.out),
    }, [await loadConvolution(config, source, refs.long)])
  ));
  return DecoderReference.load(source, layout, config.epsilon, mixers);
}

async function loadConvolution(
  config: HyenaConfig,
  source: TensorSource,
  refs: HyenaLayout["mixers"][number]["long"],
): Promise<LongConvolution> {
  if (refs.form === "filter") {
    return new ExactConvolution(await loadHyenaFilter(config, source, refs), config.width);
  }
  const read = (ref: WeightRef) => loadFloat32(source, ref);
  const modal = { poles: fromPairs(await read(refs.poles)), residues: fromPairs(await read(refs.residues)) };
  return new ModalConvolution(modal, await read(refs.skip));
}

/** A causal convolution of rows [tokens, width] that goes on where its state ends. */
export interface LongConvolution<State = unknown> {
  newState(): State;
  advance(u: Float64Array, state: State): Float64Array;
  step(u: Float64Array, state: State): Float64Array;
}

export interface HyenaWeights {
  /** Rows of the last gate (x0), of the gate before it and so on, of v. */
  readonly in: Linear;
  /** [channels, taps], the last tap for the newest token. */
  readonly short: Linear;
  readonly out: Linear;
}

export interface HyenaState {
  /** Projected rows before the next token, [short taps - 1, channels], the newest last; zeros before the text. */
  tail: Float64Array;
  readonly convolutions: readonly unknown[];
}

export class HyenaMixer implements Mixer<HyenaState> {
  readonly #weights: HyenaWeights;
  readonly #convolutions: readonly LongConvolution[];
  readonly #channels: number;
  readonly #width: number;
  readonly #shortTaps: number;

  /** @param convolutions in the order they are run, each with its skip term: one less than the order */
  constructor(weights: HyenaWeights, convolutions: readonly LongConvolution[]) {
    this.#weights = weights;
    this.#convolutions = convolutions;
    this.#channels = weights.in.bias.length;
    this.#width = weights.out.bias.length;
    this.#shortTaps = weights.short.weight.length / this.#channels;
  }

  forward(x: Float64Array): Float64Array {
    return this.advance(x, this.newState());
  }

  newState(): HyenaState {
    return {
      tail: new Float64Array((this.#shortTaps - 1) * this.#channels),
      convolutions: this.#convolutions.map((convolution) => convolution.newState()),
    };
  }

  advance(x: Float64Array, state: HyenaState): Float64Array {
    const { weight, bias } = this.#weights.short, channels = this.#channels;
    const rows = concat(state.tail, applyLinear(this.#weights.in, x));
    const mixed = causalConvolution(byLag(weight, channels), rows, channels)
      .map((value, at) => value + bias[at % channels]);
    const wanted = mixed.subarray(state.tail.length);
    state.tail = rows.slice(rows.length - state.tail.length);
    return this.#gate(wanted, (convolution, u, i) => convolution.advance(u, state.convolutions[i]));
  }

  step(x: Float64Array, state: HyenaState): Float64Array {
    const { weight, bias } = this.#weights.short, channels = this.#channels, numTaps = this.#shortTaps;
    const rows = concat(state.tail, applyLinear(this.#weights.in, x));
    state.tail = rows.slice(channels);
    const mixed = new Float64Array(channels).map((_, c) => {
      let sum = bias[c];
      for (let i = 0; i < numTaps; i++) sum += weight[c * numTaps + i] * rows[i * channels + c];
      return sum;
    });
    return this.#gate(mixed, (convolution, u, i) => convolution.step(u, state.convolutions[i]));
  }

  /** v <- convolution(v gate), gates from the last to the second; then out(v first gate). */
  #gate(
    mixed: Float64Array,
    convolve: (convolution: LongConvolution, u: Float64Array, i: number) => Float64Array,
  ): Float64Array {
    const width = this.#width, count = this.#convolutions.length;
    const part = (i: number) => columns(mixed, this.#channels, i * width, (i + 1) * width);
    let v = part(count + 1);
    this.#convolutions.forEach((convolution, i) => v = convolve(convolution, product(v, part(count - i)), i));
    return applyLinear(this.#weights.out, product(v, part(0)));
  }
}

interface History {
  /** [tokens, width] */
  inputs: Float64Array;
}

/** By the filter, over every input so far. */
export class ExactConvolution implements LongConvolution<History> {
  readonly #taps: Float64Array;
  readonly #width: number;

  /** @param taps [width, length], the skip term in lag 0 */
  constructor(taps: Float64Array, width: number) {
    this.#taps = taps;
    this.#width = width;
  }

  newState(): History {
    return { inputs: new Float64Array(0) };
  }

  advance(u: Float64Array, state: History): Float64Array {
    const known = state.inputs.length;
    state.inputs = concat(state.inputs, u);
    return causalConvolution(this.#taps, state.inputs, this.#width).slice(known);
  }

  /** The newest output alone. */
  step(u: Float64Array, state: History): Float64Array {
    state.inputs = concat(state.inputs, u);
    const width = this.#width, length = this.#taps.length / width, newest = state.inputs.length / width - 1;
    return new Float64Array(width).map((_, c) => {
      let sum = 0;
      for (let j = 0; j <= newest; j++) {
        sum += this.#taps[c * length + newest - j] * state.inputs[j * width + c];
      }
      return sum;
    });
  }
}

export interface ModalState {
  /** [width, modes] */
  modes: ComplexArray;
}

/** By modes: s <- poles s + u, y = Re sum of residues s + skip u. */
export class ModalConvolution implements LongConvolution<ModalState> {
  readonly #modal: ModalFilter;
  readonly #skip: ArrayLike<number>;

  constructor(modal: ModalFilter, skip: ArrayLike<number>) {
    this.#modal = modal;
    this.#skip = skip;
  }

  newState(): ModalState {
    return { modes: complexZeros(this.#modal.poles.re.length) };
  }

  /** By the filter within the rows, and by powers of the poles for the state before them and after them. */
  advance(u: Float64Array, state: ModalState): Float64Array {
    const width = this.#skip.length, numRows = u.length / width;
    const taps = modalFilters(this.#modal, width, numRows);
    const y = causalConvolution(taps, u, width).map((value, at) => value + this.#skip[at % width] * u[at]);
    const next = this.#decayed(state.modes, numRows);
    for (let row = 0; row < numRows; row++) {
      this.#read(this.#decayed(state.modes, row + 1)).forEach((sum, c) => y[row * width + c] += sum);
      const input = this.#spread(u.subarray(row * width, (row + 1) * width));
      addTo(next, this.#decayed(input, numRows - 1 - row));
    }
    state.modes = next;
    return y;
  }

  step(u: Float64Array, state: ModalState): Float64Array {
    state.modes = multiplyComplex(this.#modal.poles, state.modes);
    addTo(state.modes, this.#spread(u));
    return this.#read(state.modes).map((sum, c) => sum + this.#skip[c] * u[c]);
  }

  #decayed(modes: ComplexArray, numTokens: number): ComplexArray {
    return multiplyComplex(complexPower(this.#modal.poles, numTokens), modes);
  }

  /** A row as what it adds to the modes. */
  #spread(u: Float64Array): ComplexArray {
    const { length } = this.#modal.poles.re, numModes = length / u.length;
    return {
      re: new Float64Array(length).map((_, i) => u[Math.floor(i / numModes)]),
      im: new Float64Array(length),
    };
  }

  /** Re sum of residues s, by channel. */
  #read(modes: ComplexArray): Float64Array {
    const sums = new Float64Array(this.#skip.length), numModes = modes.re.length / sums.length;
    multiplyComplex(this.#modal.residues, modes).re.forEach((re, i) => sums[Math.floor(i / numModes)] += re);
    return sums;
  }
}

/** Taps [channels, length] of modes [channels, modes]. */
export function modalFilters(
  { poles, residues }: ModalFilter,
  channels: number,
  length: number,
): Float64Array {
  const taps = new Float64Array(channels * length), numModes = poles.re.length / channels;
  for (let c = 0; c < channels; c++) {
    const own = ({ re, im }: ComplexArray) => ({
      re: re.subarray(c * numModes, (c + 1) * numModes),
      im: im.subarray(c * numModes, (c + 1) * numModes),
    });
    taps.set(modalTaps({ poles: own(poles), residues: own(residues) }, length), c * length);
  }
  return taps;
}

/** Stored convolution weights [channels, taps] have the newest token's tap last. */
function byLag(weight: ArrayLike<number>, channels: number): Float64Array {
  const numTaps = weight.length / channels;
  return Float64Array.from(
    weight,
    (_, at) => weight[Math.floor(at / numTaps) * numTaps + numTaps - 1 - at % numTaps],
  );
}

/** Element by element. */
export function multiplyComplex(a: ComplexArray, b: ComplexArray): ComplexArray {
  return {
    re: a.re.map((re, i) => re * b.re[i] - a.im[i] * b.im[i]),
    im: a.re.map((re, i) => re * b.im[i] + a.im[i] * b.re[i]),
  };
}
