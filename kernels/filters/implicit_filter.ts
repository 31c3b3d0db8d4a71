// Hyena's long filters, which a small network computes from the position alone (Poli et al. 2023, section 3.3), in
// float64: evaluated once when a model is loaded.

/** A dense layer: weight [outputs][inputs]. */
export interface FilterLayer {
  readonly weight: ArrayLike<number>;
  readonly bias?: ArrayLike<number>;
}

export interface ImplicitFilter {
  /** Positions' features [length][features]; `positionFeatures` where the checkpoint has none. */
  readonly features: ArrayLike<number>;
  /** Of every sine layer: sin(frequencies * (weight · x + bias)). */
  readonly frequencies: ArrayLike<number>;
  readonly sineLayers: readonly FilterLayer[];
  readonly lastLayer: FilterLayer;
  /** Decay of every channel; undefined = filters are not modulated. */
  readonly deltas?: ArrayLike<number>;
  /** Added to the decay. */
  readonly shift?: number;
}

/** Filters [channels][length]: g[j] (exp(-t_j |delta|) + shift), with t_j from 0 to 1. */
export function implicitFilter(filter: ImplicitFilter, length: number): Float64Array {
  const { features, frequencies, sineLayers, lastLayer, deltas, shift = 0 } = filter;
  const inputs = features.length / length, hidden = frequencies.length;
  const channels = lastLayer.weight.length / hidden, taps = new Float64Array(channels * length);
  for (let j = 0; j < length; j++) {
    let x = Float64Array.from({ length: inputs }, (_, i) => features[j * inputs + i]);
    for (const layer of sineLayers) {
      x = dense(layer, x, hidden).map((value, i) => Math.sin(frequencies[i] * value));
    }
    const t = length > 1 ? j / (length - 1) : 0;
    dense(lastLayer, x, channels).forEach((value, channel) => {
      const decay = deltas ? Math.exp(-t * Math.abs(deltas[channel])) + shift : 1;
      taps[channel * length + j] = value * decay;
    });
  }
  return taps;
}

/** [length][2 * bands + 1]: t, then cosines and negative sines of the position at `bands` frequencies. */
export function positionFeatures(length: number, bands: number): Float64Array {
  const width = 2 * bands + 1, features = new Float64Array(length * width);
  for (let j = 0; j < length; j++) {
    const omega = 2 * Math.PI * j / length;
    features[j * width] = length > 1 ? j / (length - 1) : 0;
    for (let band = 0; band < bands; band++) {
      const frequency = linspace(1e-4, bands - 1, bands, band);
      features[j * width + 1 + band] = Math.cos(frequency * omega);
      features[j * width + 1 + bands + band] = -Math.sin(frequency * omega);
    }
  }
  return features;
}

/** Decays of `channels` channels, from that which leaves 1 % after 1.5 lengths to that which does after 0.3. */
export function decayDeltas(channels: number): Float64Array {
  return Float64Array.from(
    { length: channels },
    (_, channel) => linspace(Math.log(0.01) / 1.5, Math.log(0.01) / 0.3, channels, channel),
  );
}

/** Number `i` of `count` from `first` to `last`; of a single one the first. */
function linspace(first: number, last: number, count: number, i: number): number {
  return count > 1 ? first + (last - first) * i / (count - 1) : first;
}

function dense({ weight, bias }: FilterLayer, x: Float64Array, outputs: number): Float64Array {
  return Float64Array.from({ length: outputs }, (_, o) => {
    let sum = bias?.[o] ?? 0;
    for (let i = 0; i < x.length; i++) sum += weight[o * x.length + i] * x[i];
    return sum;
  });
}
