// Float64 reference of the gated short convolution, with the last inputs kept, newest first, as a sequence's state.
import { type ReferenceStates, sequencesOf } from "../reference_states.ts";
import type { StepBatch } from "../step.ts";

/** Input and gate [tokens][width], filter [taps][width] by lag, bias [width]. */
export interface ShortConvolutionOperands {
  readonly input: Float64Array;
  readonly filter: ArrayLike<number>;
  readonly bias?: ArrayLike<number>;
  readonly gate?: Float64Array;
}

export function shortConvolutionReference(
  { input, filter, bias, gate }: ShortConvolutionOperands,
  batch: StepBatch,
  states: ReferenceStates,
): Float64Array {
  const width = input.length / batch.tokenIds.length;
  const output = new Float64Array(input.length);
  for (const { firstRow, endRow, state, keep } of sequencesOf(batch, states, filter.length - width)) {
    for (let row = firstRow; row < endRow; row++) {
      for (let channel = 0; channel < width; channel++) {
        const at = row * width + channel;
        let sum = (bias?.[channel] ?? 0) + filter[channel] * input[at];
        for (let i = channel; i < state.length; i += width) sum += filter[width + i] * state[i];
        output[at] = sum * (gate?.[at] ?? 1);
      }
      state.copyWithin(width, 0);
      state.set(input.subarray(row * width, row * width + Math.min(width, state.length)));
      keep(row);
    }
  }
  return output;
}
