// Sums of long convolutions that are made online, as sets of inputs in place of numbers: whoever takes one from where it is
// kept has to find there all inputs before the square that it is in, its own and no others.
import { type OnlineShape, OnlineSums } from "../../kernels/convolution_history/online_sums.ts";
import type { StepBatch, StepLimits } from "../../kernels/step.ts";

/** Inputs [0, end) of a sequence: a hash of its tokens up to there. */
interface Inputs {
  readonly end: number;
  readonly chain: number;
}

export class KeptSums {
  readonly #shape: OnlineShape;
  readonly #sums: OnlineSums;
  /** By place, and by position within the window. */
  readonly #kept: (Inputs | undefined)[][] = [];
  /** Sums taken that an earlier step had made. */
  numTaken = 0;

  constructor(shape: OnlineShape, limits: StepLimits) {
    this.#shape = shape;
    this.#sums = new OnlineSums(shape, limits);
  }

  /** @param chainOf hash of the first so many tokens of a sequence of the step */
  step(batch: StepBatch, chainOf: (sequence: number, end: number) => number) {
    const { window, square } = this.#shape, { sums, places } = this.#sums.before(batch);
    const made = new Set<number>();
    for (const { sequence, firstInput, endInput, firstOutput, endOutput, adds } of sums) {
      made.add(sequence);
      const kept = this.#kept[places[sequence]] ??= [];
      for (let output = firstOutput; output < endOutput; output++) {
        const before = adds ? kept[output % window] : { end: 0, chain: 0 };
        if (before?.end !== firstInput || before.chain !== chainOf(sequence, firstInput)) {
          throw new Error(`Sums of sequence ${sequence} for position ${output} are not its own`);
        }
        kept[output % window] = { end: endInput, chain: chainOf(sequence, endInput) };
      }
    }
    batch.contextLengths.forEach((_, sequence) => {
      const row = batch.queryStart[sequence], position = batch.positions[row];
      if (batch.queryStart[sequence + 1] - row !== 1) return;
      const end = position - position % square;
      const kept = end > 0 ? this.#kept[places[sequence]]?.[position % window] : { end: 0, chain: 0 };
      if (kept?.end !== end || kept.chain !== chainOf(sequence, end)) {
        throw new Error(`Sequence ${sequence} takes a sum at position ${position} that is not its own`);
      }
      if (end > 0 && !made.has(sequence)) this.numTaken++;
    });
  }
}
