// Hyena's long filters, which a small network of sines computes from the position alone, in float64. Poli et al., "Hyena
// Hierarchy" (2023), section 3.3. Evaluated once, on the CPU, when a model is loaded: WGSL guarantees sines to 2^-11
// only, and three of them in a row multiply that. Knows no checkpoint.

export interface FilterNetwork {
  /** Positions' features [length, features]. */
  readonly positions: ArrayLike<number>;
  readonly length: number;
  /** Shared by all sine layers: sin(frequency * (weight x + bias)). */
  readonly frequency: ArrayLike<number>;
  readonly sineLayers: readonly { readonly weight: ArrayLike<number>; readonly bias: ArrayLike<number> }[];
  /** [channels, hidden], without bias. */
  readonly output: ArrayLike<number>;
  readonly window?: FilterWindow;
}

/** Channel c is multiplied by exp(-t |decay[c]|) + shift, t from 0 to 1. */
export interface FilterWindow {
  readonly decay: ArrayLike<number>;
  readonly shift: number;
}

/** Filters [channels, length], without the skip term. */
export function evaluateFilter(network: FilterNetwork): Float64Array {
  const { length, output, window } = network, hidden = network.frequency.length;
  const x = hiddenValues(network), channels = output.length / hidden;
  const taps = new Float64Array(channels * length);
  for (let c = 0; c < channels; c++) {
    for (let t = 0; t < length; t++) {
      let sum = 0;
      for (let i = 0; i < hidden; i++) sum += output[c * hidden + i] * x[t * hidden + i];
      const factor = window ? Math.exp(-timeOf(t, length) * Math.abs(window.decay[c])) + window.shift : 1;
      taps[c * length + t] = sum * factor;
    }
  }
  return taps;
}

/** [length, hidden]: what the last layer reads. */
function hiddenValues({ positions, length, frequency, sineLayers }: FilterNetwork): Float64Array {
  const hidden = frequency.length;
  let x = Float64Array.from(positions);
  for (const { weight, bias } of sineLayers) {
    const inputs = x.length / length, y = new Float64Array(length * hidden);
    for (let at = 0; at < y.length; at++) {
      const row = Math.floor(at / hidden), n = at % hidden;
      let sum = bias[n];
      for (let k = 0; k < inputs; k++) sum += weight[n * inputs + k] * x[row * inputs + k];
      y[at] = Math.sin(frequency[n] * sum);
    }
    x = y;
  }
  return x;
}

/**
 * [length, features] of checkpoints that do not store theirs (they may be trained): time, then cosines and negative sines
 * of the position at (features - 1) / 2 frequencies.
 */
export function positionFeatures(length: number, features: number): Float64Array {
  const bands = (features - 1) / 2, positions = new Float64Array(length * features);
  for (let t = 0; t < length; t++) {
    const at = t * features, angle = 2 * Math.PI * t / length;
    positions[at] = timeOf(t, length);
    for (let band = 0; band < bands; band++) {
      const frequency = linspace(1e-4, bands - 1, bands, band);
      positions[at + 1 + band] = Math.cos(frequency * angle);
      positions[at + 1 + bands + band] = -Math.sin(frequency * angle);
    }
  }
  return positions;
}

/** Decays of checkpoints that do not store theirs: what is left of a channel is 1 % after 1.5 to 0.3 lengths. */
export function decayRates(channels: number): Float64Array {
  const first = Math.log(0.01) / 1.5, last = Math.log(0.01) / 0.3;
  return Float64Array.from({ length: channels }, (_, c) => linspace(first, last, channels, c));
}

function timeOf(t: number, length: number): number {
  return length > 1 ? t / (length - 1) : 0;
}

function linspace(first: number, last: number, count: number, i: number): number {
  return count > 1 ? first + (last - first) * i / (count - 1) : first;
}
