// Recurrent states of the float64 references, by slot. Refuses to go on from a slot that was never written.
import type { StepBatch } from "./step.ts";

/** One layer's states: slot -> what it keeps of a sequence. */
export type ReferenceStates = Map<number, Float64Array>;

/** A sequence's rows in a step, and its state. */
export interface ReferenceSequence {
  readonly firstRow: number;
  readonly endRow: number;
  /** To be changed in place. */
  readonly state: Float64Array;
  /** To be called after each row: keeps the state there if the step says so. */
  keep(row: number): void;
}

/** @throws {RangeError} when slot `from` was never written */
export function copyState(states: ReferenceStates, from: number, to: number): void {
  const state = states.get(from);
  if (!state) throw new RangeError(`Cannot copy state: slot ${from} was never written`);
  states.set(to, state.slice());
}

/** The sequences of a step; who starts at position 0 gets a state of zeros. */
export function sequencesOf(batch: StepBatch, states: ReferenceStates, floats: number): ReferenceSequence[] {
  return Array.from(batch.contextLengths, (_, s) => {
    const firstRow = batch.queryStart[s], slot = batch.stateSlots![s];
    if (batch.positions[firstRow] === 0) states.set(slot, new Float64Array(floats));
    const state = states.get(slot);
    if (!state) throw new RangeError(`Cannot go on: state slot ${slot} was never written`);
    const kept = (batch.keptStates ?? []).filter(({ sequence }) => sequence === s);
    return {
      ...{ firstRow, endRow: batch.queryStart[s + 1], state },
      keep(row) {
        for (const { numRows, slot } of kept) {
          if (firstRow + numRows - 1 === row) states.set(slot, state.slice());
        }
      },
    };
  });
}
