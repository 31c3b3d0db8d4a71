// What of a long convolution is summed when, for sequences that get one token a step: squares of inputs by outputs that
// cover every pair once. Within a window of positions squares of ever larger powers of two, whose inputs are then all
// known; when a window begins, everything before it by everything in it. What is added up so for positions to come is kept
// by state slot. Oncescu et al., "Flash Inference: Near Linear Time Inference for Long Convolution Sequence Models and
// Beyond" (2024), section 3.1, with the largest squares cut off, which would need room for half of the text. Knows
// positions and slots, no numbers that are summed.
import { BLOCK_SIZE, type StepBatch, type StepLimits } from "../step.ts";

export interface OnlineShape {
  /** Positions whose sums are kept, a power of two of squares. */
  readonly window: number;
  /** Inputs of the smallest square, whole blocks: what is nearer is summed when its output is wanted. */
  readonly square: number;
}

/** Inputs [firstInput, endInput) of a sequence of the step are summed for outputs [firstOutput, endOutput). */
export interface OnlineSum {
  readonly sequence: number;
  readonly firstInput: number;
  readonly endInput: number;
  /** A multiple of BLOCK_SIZE, as the end. */
  readonly firstOutput: number;
  readonly endOutput: number;
  /** To what is there already, or in its place. */
  readonly adds: boolean;
}

/** What a slot's sums stand for. */
interface Kept {
  /** A multiple of the square: those of all inputs before it that squares have covered by then. */
  readonly ready: number;
  /** The position after the last row. */
  readonly next: number;
}

type Range = Omit<OnlineSum, "sequence">;

export class OnlineSums {
  readonly #shape: OnlineShape;
  readonly #mostOutputs: number;
  /** By state slot. */
  readonly #kept = new Map<number, Kept>();

  /** @throws {RangeError} when a window is no power of two of squares, or a square no whole blocks */
  constructor(shape: OnlineShape, { maxBlocksPerSequence }: StepLimits) {
    const { window, square } = shape, squares = window / square;
    if (square % BLOCK_SIZE !== 0 || !Number.isInteger(Math.log2(squares)) || squares < 1) {
      throw new RangeError(
        `Cannot sum online: a window must be a power of two of squares, these whole blocks of ${BLOCK_SIZE}, received ${window} and ${square}`,
      );
    }
    this.#shape = shape;
    this.#mostOutputs = maxBlocksPerSequence * BLOCK_SIZE;
  }

  /**
   * What a step has to sum before its rows, in any order: no output stands in two of them. Steps must be asked about in the
   * order in which they run. A sequence that goes on in another slot, or in one that another had, brings its state
   * there (`stateCopies`), or begins at position 0.
   */
  before({ stateCopies = [], stateSlots, positions, queryStart, contextLengths }: StepBatch): OnlineSum[] {
    for (const { to } of stateCopies) this.#kept.delete(to);
    return [...contextLengths].flatMap((length, sequence) => {
      const rows = queryStart[sequence + 1] - queryStart[sequence];
      if (rows === 0) return [];
      const slot = stateSlots![sequence], position = positions[queryStart[sequence]];
      const kept = this.#keptFor(slot, position);
      if (rows > 1) {
        // Whoever gets several rows has them summed another way.
        if (kept) this.#kept.set(slot, { ...kept, next: length });
        else this.#kept.delete(slot);
        return [];
      }
      const ready = position - position % this.#shape.square;
      this.#kept.set(slot, { ready, next: length });
      return this.#ranges(kept?.ready, ready)
        .map((range) => ({ sequence, ...range, endOutput: Math.min(range.endOutput, this.#mostOutputs) }))
        .filter(({ firstOutput, endOutput }) => firstOutput < endOutput);
    });
  }

  /** Undefined where what is kept is another sequence's, or knows inputs that are no longer the sequence's. */
  #keptFor(slot: number, position: number): Kept | undefined {
    const kept = this.#kept.get(slot);
    return kept && position > 0 && kept.ready <= position && position <= kept.next ? kept : undefined;
  }

  #ranges(from: number | undefined, ready: number): Range[] {
    if (from === ready) return [];
    const { window, square } = this.#shape, inWindow = ready % window;
    if (from !== ready - square || inWindow === 0) return this.#allRanges(ready);
    const size = inWindow & -inWindow;
    return [{
      firstInput: ready - size,
      endInput: ready,
      firstOutput: ready,
      endOutput: ready + size,
      adds: true,
    }];
  }

  /** What squares would have summed by then, from the window's beginning on: outputs further on know fewer inputs. */
  #allRanges(ready: number): Range[] {
    const { window } = this.#shape, ranges: Range[] = [];
    let left = ready % window, known = ready, firstOutput = ready;
    while (left > 0) {
      const size = left & -left, endOutput = known + size;
      if (firstOutput < endOutput) ranges.push(allBefore(known, firstOutput, endOutput));
      firstOutput = Math.max(firstOutput, endOutput);
      left -= size;
      known -= size;
    }
    const end = known + window;
    return firstOutput < end ? [...ranges, allBefore(known, firstOutput, end)] : ranges;
  }
}

function allBefore(endInput: number, firstOutput: number, endOutput: number): Range {
  return { firstInput: 0, endInput, firstOutput, endOutput, adds: false };
}
