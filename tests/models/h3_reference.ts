// Float64 references of H3's mixer and of hybrids' attention. H3: a whole text by direct convolution with both filters; a
// chunk by the filters within it and the state before it; a token by the recurrence that defines the model.
import type { TensorSource } from "../../kernels/tensor_source.ts";
import {
  type ComplexArray,
  complexPower,
  complexZeros,
  multiplyComplex,
} from "../../models/complex_array.ts";
import { type H3Config, type H3Layout, h3Layout, type H3Tables, loadH3Tables } from "../../models/h3.ts";
import { modalForm, modalTaps } from "../../models/h3_ssm.ts";
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

export async function loadH3Reference(config: H3Config, source: TensorSource): Promise<DecoderReference> {
  const layout = h3Layout(config, source);
  const mixers = await Promise.all(layout.mixers.map((refs) => loadMixer(config, source, refs)));
  return DecoderReference.load(source, layout, config.epsilon, mixers);
}

async function loadMixer(
  config: H3Config,
  source: TensorSource,
  { qkv, out, ssm }: H3Layout["mixers"][number],
): Promise<Mixer> {
  const projections = { qkv: await loadLinear(source, qkv), out: await loadLinear(source, out) };
  return ssm
    ? new H3Mixer(projections, await loadH3Tables(source, ssm))
    : new AttentionMixer(projections, config);
}

interface Projections {
  readonly qkv: Linear;
  readonly out: Linear;
}

export interface H3State {
  /** k of the last tokens, [taps - 1, channels], the newest last; zeros before the text. */
  history: Float64Array;
  /** [channels, modes] */
  modes: ComplexArray;
}

export class H3Mixer implements Mixer<H3State> {
  readonly #projections: Projections;
  readonly #tables: H3Tables;
  readonly #width: number;
  readonly #numModes: number;
  readonly #numTaps: number;

  constructor(projections: Projections, tables: H3Tables) {
    this.#projections = projections;
    this.#tables = tables;
    this.#width = tables.skip.length;
    this.#numModes = tables.ssm.a.re.length / this.#width;
    this.#numTaps = tables.taps.length / this.#width;
  }

  forward(x: Float64Array): Float64Array {
    const { q, k, v } = this.#project(x);
    const w = product(causalConvolution(this.#tables.taps, k, this.#width), v);
    return this.#finish(q, w, causalConvolution(this.#kernel(rowsOf(x, this.#width)), w, this.#width));
  }

  newState(): H3State {
    return {
      history: new Float64Array((this.#numTaps - 1) * this.#width),
      modes: complexZeros(this.#width * this.#numModes),
    };
  }

  /**
   * y[i] = sum over j <= i of K[i - j] w[j] + 2 Re sum of c a^(i + 1) s, and the state after n tokens is
   * a^n s + b sum of a^(n - 1 - j) w[j].
   */
  advance(x: Float64Array, state: H3State): Float64Array {
    const width = this.#width, { q, k, v } = this.#project(x), numRows = rowsOf(x, width);
    const keys = concat(state.history, k);
    const w = product(causalConvolution(this.#tables.taps, keys, width).subarray(state.history.length), v);
    const y = causalConvolution(this.#kernel(numRows), w, width);
    for (let i = 0; i < numRows; i++) {
      this.#read(this.#decayed(state.modes, i + 1)).forEach((sum, c) => y[i * width + c] += sum);
    }
    const next = this.#decayed(state.modes, numRows);
    for (let j = 0; j < numRows; j++) {
      const input = this.#inputOf(w.subarray(j * width, (j + 1) * width));
      addTo(next, this.#decayed(input, numRows - 1 - j));
    }
    state.modes = next;
    state.history = keys.slice(keys.length - state.history.length);
    return this.#finish(q, w, y);
  }

  step(x: Float64Array, state: H3State): Float64Array {
    const { q, k, v } = this.#project(x), width = this.#width, { taps, ssm } = this.#tables;
    const keys = concat(state.history, k), w = new Float64Array(width);
    for (let c = 0; c < width; c++) {
      for (let lag = 0; lag < this.#numTaps; lag++) {
        w[c] += taps[c * this.#numTaps + lag] * keys[(this.#numTaps - 1 - lag) * width + c];
      }
      w[c] *= v[c];
    }
    state.history = keys.slice(width);
    state.modes = multiplyComplex(ssm.a, state.modes);
    addTo(state.modes, this.#inputOf(w));
    return this.#finish(q, w, this.#read(state.modes));
  }

  #project(x: Float64Array) {
    const qkv = applyLinear(this.#projections.qkv, x), width = this.#width;
    const part = (i: number) => columns(qkv, 3 * width, i * width, (i + 1) * width);
    return { q: part(0), k: part(1), v: part(2) };
  }

  /** out(q (y + skip w)) */
  #finish(q: Float64Array, w: Float64Array, y: Float64Array): Float64Array {
    const { skip } = this.#tables;
    return applyLinear(
      this.#projections.out,
      q.map((value, at) => value * (y[at] + skip[at % skip.length] * w[at])),
    );
  }

  #kernel(length: number): Float64Array {
    return modalTaps(modalForm(this.#tables.ssm), this.#width, length);
  }

  #decayed(modes: ComplexArray, numTokens: number): ComplexArray {
    return multiplyComplex(complexPower(this.#tables.ssm.a, numTokens), modes);
  }

  /** b w */
  #inputOf(w: Float64Array): ComplexArray {
    const { b } = this.#tables.ssm;
    return {
      re: b.re.map((value, i) => value * w[Math.floor(i / this.#numModes)]),
      im: b.im.map((value, i) => value * w[Math.floor(i / this.#numModes)]),
    };
  }

  /** 2 Re sum over the modes of c s, by channel. */
  #read(modes: ComplexArray): Float64Array {
    const sums = new Float64Array(this.#width);
    multiplyComplex(this.#tables.ssm.c, modes).re.forEach((re, i) =>
      sums[Math.floor(i / this.#numModes)] += 2 * re
    );
    return sums;
  }
}

interface AttentionState {
  /** [tokens, width], turned by their positions. */
  keys: Float64Array;
  values: Float64Array;
}

class AttentionMixer implements Mixer<AttentionState> {
  readonly #projections: Projections;
  readonly #config: H3Config;

  constructor(projections: Projections, config: H3Config) {
    this.#projections = projections;
    this.#config = config;
  }

  forward(x: Float64Array): Float64Array {
    return this.advance(x, this.newState());
  }

  newState(): AttentionState {
    return { keys: new Float64Array(0), values: new Float64Array(0) };
  }

  advance(x: Float64Array, state: AttentionState): Float64Array {
    const { width } = this.#config, position = state.keys.length / width;
    const qkv = applyLinear(this.#projections.qkv, x);
    const part = (i: number) => columns(qkv, 3 * width, i * width, (i + 1) * width);
    const q = this.#rotate(part(0), position);
    state.keys = concat(state.keys, this.#rotate(part(1), position));
    state.values = concat(state.values, part(2));
    const mixed = new Float64Array(q.length);
    for (let row = 0; row < q.length / width; row++) this.#attend(q, row, position + row + 1, state, mixed);
    return applyLinear(this.#projections.out, mixed);
  }

  step(x: Float64Array, state: AttentionState): Float64Array {
    return this.advance(x, state);
  }

  /** Row `row` of q over the first `numKeys` keys, all heads, into `mixed`. */
  #attend(q: Float64Array, row: number, numKeys: number, state: AttentionState, mixed: Float64Array): void {
    const { width, numHeads } = this.#config, size = width / numHeads;
    for (let start = 0; start < width; start += size) {
      const scores = new Float64Array(numKeys);
      for (let key = 0; key < numKeys; key++) {
        for (let i = start; i < start + size; i++) {
          scores[key] += q[row * width + i] * state.keys[key * width + i] / Math.sqrt(size);
        }
      }
      const most = Math.max(...scores), weights = scores.map((score) => Math.exp(score - most));
      const sum = weights.reduce((a, b) => a + b);
      for (let i = start; i < start + size; i++) {
        weights.forEach((weight, key) =>
          mixed[row * width + i] += weight / sum * state.values[key * width + i]
        );
      }
    }
  }

  /** Of every head the first rotaryDims are turned: dimension j with j + rotaryDims / 2. */
  #rotate(x: Float64Array, firstPosition: number): Float64Array {
    const { width, numHeads, rotaryDims, rotaryBase } = this.#config, half = rotaryDims / 2;
    const turned = Float64Array.from(x);
    for (let start = 0; start < x.length; start += width / numHeads) {
      const position = firstPosition + Math.floor(start / width);
      for (let j = 0; j < half; j++) {
        const angle = position * rotaryBase ** (-j / half), a = x[start + j], b = x[start + half + j];
        turned[start + j] = a * Math.cos(angle) - b * Math.sin(angle);
        turned[start + half + j] = b * Math.cos(angle) + a * Math.sin(angle);
      }
    }
    return turned;
  }
}

function rowsOf(x: Float64Array, width: number): number {
  return x.length / width;
}
