// Float64 reference of the gated diagonal SSM, written from the recurrence: one token after the other.
import { type ReferenceStates, sequencesOf } from "../reference_states.ts";
import type { StepBatch } from "../step.ts";

/** Input and gate [tokens][width], poles and residues [width][modes] of [re, im], skip [width]. */
export interface DiagonalSsmOperands {
  readonly input: Float64Array;
  readonly poles: ArrayLike<number>;
  readonly residues: ArrayLike<number>;
  readonly skip?: ArrayLike<number>;
  readonly gate?: Float64Array;
}

/** States are [width][modes] of [re, im]. */
export function diagonalSsmReference(
  { input, poles, residues, skip, gate }: DiagonalSsmOperands,
  width: number,
  batch: StepBatch,
  states: ReferenceStates,
): Float64Array {
  const floats = poles.length / width;
  const output = new Float64Array(input.length);
  for (const { firstRow, endRow, state, keep } of sequencesOf(batch, states, poles.length)) {
    for (let row = firstRow; row < endRow; row++) {
      for (let channel = 0; channel < width; channel++) {
        const at = row * width + channel, x = input[at];
        let sum = (skip?.[channel] ?? 0) * x;
        for (let re = channel * floats, im = re + 1; re < (channel + 1) * floats; re += 2, im += 2) {
          const next = poles[re] * state[re] - poles[im] * state[im] + x;
          state[im] = poles[re] * state[im] + poles[im] * state[re];
          state[re] = next;
          sum += residues[re] * state[re] - residues[im] * state[im];
        }
        output[at] = sum * (gate?.[at] ?? 1);
      }
      keep(row);
    }
  }
  return output;
}
