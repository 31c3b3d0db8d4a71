// Float64 references of H3's mixer and of hybrids' attention. H3: a whole text by direct convolution with both filters; a
// chunk by the filters within it and the state before it; a token by the recurrence that defines the model.
import type { TensorSource } from "../../kernels/tensor_source.ts";
import { type H3Config, type H3Layout, h3Layout, type H3Tables, loadH3Tables } from "../../models/h3.ts";
import {
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
import { ModalConvolution, modalFilters, type ModalState } from "./hyena_reference.ts";

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
  /** In modal form: H3's own state is `inputs` times this. */
  readonly ssm: ModalState;
}

export class H3Mixer implements Mixer<H3State> {
  readonly #projections: Projections;
  readonly #tables: H3Tables;
  readonly #ssm: ModalConvolution;
  readonly #width: number;
  readonly #numTaps: number;

  constructor(projections: Projections, tables: H3Tables) {
    this.#projections = projections;
    this.#tables = tables;
    this.#ssm = new ModalConvolution(tables.ssm, tables.skip);
    this.#width = tables.skip.length;
    this.#numTaps = tables.taps.length / this.#width;
  }

  forward(x: Float64Array): Float64Array {
    const width = this.#width, { q, k, v } = this.#project(x), { taps, ssm, skip } = this.#tables;
    const w = product(causalConvolution(taps, k, width), v);
    const kernels = modalFilters(ssm, width, x.length / width);
    const y = causalConvolution(kernels, w, width).map((value, at) => value + skip[at % width] * w[at]);
    return applyLinear(this.#projections.out, product(q, y));
  }

  newState(): H3State {
    return { history: new Float64Array((this.#numTaps - 1) * this.#width), ssm: this.#ssm.newState() };
  }

  advance(x: Float64Array, state: H3State): Float64Array {
    const { q, k, v } = this.#project(x), known = state.history.length, keys = concat(state.history, k);
    const w = product(causalConvolution(this.#tables.taps, keys, this.#width).subarray(known), v);
    state.history = keys.slice(keys.length - known);
    return applyLinear(this.#projections.out, product(q, this.#ssm.advance(w, state.ssm)));
  }

  step(x: Float64Array, state: H3State): Float64Array {
    const { q, k, v } = this.#project(x), width = this.#width, numTaps = this.#numTaps;
    const keys = concat(state.history, k), w = new Float64Array(width);
    for (let c = 0; c < width; c++) {
      for (let lag = 0; lag < numTaps; lag++) {
        w[c] += this.#tables.taps[c * numTaps + lag] * keys[(numTaps - 1 - lag) * width + c];
      }
      w[c] *= v[c];
    }
    state.history = keys.slice(width);
    return applyLinear(this.#projections.out, product(q, this.#ssm.step(w, state.ssm)));
  }

  #project(x: Float64Array) {
    const qkv = applyLinear(this.#projections.qkv, x), width = this.#width;
    const part = (i: number) => columns(qkv, 3 * width, i * width, (i + 1) * width);
    return { q: part(0), k: part(1), v: part(2) };
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
