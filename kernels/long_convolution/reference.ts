// Float64 reference of the gated long convolution, written from the definition: a sum over all lags for every output.
import type { StepBatch } from "../step.ts";

/** All but the filter [width][taps] are [tokens][width]. */
export interface LongConvolutionOperands {
  readonly input: Float64Array;
  readonly filter: ArrayLike<number>;
  readonly before?: Float64Array;
  readonly after?: Float64Array;
  readonly carried?: Float64Array;
}

export function longConvolutionReference(
  { input, filter, before, after, carried }: LongConvolutionOperands,
  { queryStart, contextLengths }: Pick<StepBatch, "queryStart" | "contextLengths">,
): Float64Array {
  const width = input.length / queryStart[contextLengths.length], taps = filter.length / width;
  const output = new Float64Array(input.length);
  for (let s = 0; s < contextLengths.length; s++) {
    const first = queryStart[s], length = queryStart[s + 1] - first;
    for (let channel = 0; channel < width; channel++) {
      const at = (t: number) => (first + t) * width + channel;
      const signal = Float64Array.from({ length }, (_, t) => input[at(t)] * (before?.[at(t)] ?? 1));
      const kernel = Float64Array.from({ length: taps }, (_, lag) => filter[channel * taps + lag]);
      for (let t = 0; t < length; t++) {
        let sum = carried?.[at(t)] ?? 0;
        for (let lag = 0; lag <= t && lag < taps; lag++) sum += kernel[lag] * signal[t - lag];
        output[at(t)] = sum * (after?.[at(t)] ?? 1);
      }
    }
  }
  return output;
}
