// What of a long convolution is summed when, for sequences that get one token a step: squares of inputs by outputs that
// cover every pair once. Within a window of positions squares of ever larger powers of two, whose inputs are then all
// known; when a window begins, everything before it by everything in it. What is added up so for positions to come is kept
// at a place of the sequence's own. Oncescu et al., "Flash Inference: Near Linear Time Inference for Long Convolution Sequence Models and
// Beyond" (2024), section 3.1, with the largest squares cut off, which would need room for half of the text. Knows
// positions and slots, no numbers that are summed.
import { BLOCK_SIZE, type StateCopy, type StepBatch, type StepLimits } from "../step.ts";

export interface OnlineShape {
  /** Positions whose sums are kept, a power of two of squares. */
  readonly window: number;
  /** Inputs of the smallest square, whole blocks: what is nearer is summed when its output is wanted. */
  readonly square: number;
  /** Undefined: sums are made directly, however large. */
  readonly transforms?: OnlineTransforms;
}

/** The same before it is known what an adapter can transform. */
export interface OnlineShapeWanted extends Omit<OnlineShape, "transforms"> {
  /** See `OnlineTransforms.worth`; undefined: no sum is transformed. */
  readonly transformsWorth?: number;
}

/** Which sums are made by Fourier transforms. */
export interface OnlineTransforms {
  /** Positions from the first input to the last output at most, of all of a step together. */
  readonly room: number;
  /** As many products as take the time of one of those positions: fewer are made directly. */
  readonly worth: number;
}

/** Sums of a step that are made by transforms. */
export const MOST_TRANSFORMS = 4;

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

/** What a step needs to know. */
export interface OnlineStep {
  /** What is to be summed before its rows, in any order: no output stands in two of these and those. */
  readonly sums: readonly OnlineSum[];
  /** The same by transforms. */
  readonly transforms: readonly OnlineSum[];
  /** Of each sequence the place at which its sums are kept; anything where it has several rows. */
  readonly places: Uint32Array;
}

/** What the sums at a place stand for. */
interface Kept {
  readonly place: number;
  /** A number of the text whose sums these are, as long as it only grows. */
  readonly text: number;
  /** A multiple of the square: those of all inputs before it that squares have covered by then. */
  readonly ready: number;
  /** The position after the last row. */
  readonly next: number;
}

type Range = Omit<OnlineSum, "sequence">;

export class OnlineSums {
  readonly #shape: OnlineShape;
  readonly #mostOutputs: number;
  /** By state slot; those used last come last. */
  readonly #kept = new Map<number, Kept>();
  readonly #freePlaces: number[];
  /** Of slots that states were copied to, and in which nothing has run since: whose text it was. */
  readonly #copied = new Map<number, number>();
  #numTexts = 0;

  /**
   * There are as many places as sequences in a step at most.
   * @throws {RangeError} when a window is no power of two of squares, or a square no whole blocks
   */
  constructor(shape: OnlineShape, { maxBlocksPerSequence, maxSequences }: StepLimits) {
    const { window, square } = shape, squares = window / square;
    if (square % BLOCK_SIZE !== 0 || !Number.isInteger(Math.log2(squares)) || squares < 1) {
      throw new RangeError(
        `Cannot sum online: a window must be a power of two of squares, these whole blocks of ${BLOCK_SIZE}, received ${window} and ${square}`,
      );
    }
    this.#shape = shape;
    this.#mostOutputs = maxBlocksPerSequence * BLOCK_SIZE;
    this.#freePlaces = Array.from({ length: maxSequences }, (_, i) => maxSequences - 1 - i);
  }

  /**
   * Steps must be asked about in the order in which they run. A sequence that goes on in another slot, or in one that
   * another had, brings its state there (`stateCopies`), has a copy of one that was kept there, or begins at position 0.
   */
  before(batch: StepBatch): OnlineStep {
    const { stateCopies = [], keptStates = [], stateSlots, positions, queryStart, contextLengths } = batch;
    for (const copy of stateCopies) this.#copy(copy);
    for (const { slot } of keptStates) {
      this.#forget(slot);
      this.#copied.delete(slot);
    }
    const singles: { readonly sequence: number; readonly slot: number; readonly position: number }[] = [];
    contextLengths.forEach((next, sequence) => {
      const rows = queryStart[sequence + 1] - queryStart[sequence];
      if (rows === 0) return;
      const slot = stateSlots![sequence], position = positions[queryStart[sequence]];
      const kept = this.#keptFor(slot, position);
      if (kept) {
        // A text that went back may go another way: it is no longer that of states that were copied from it.
        const text = position < kept.next ? this.#numTexts++ : kept.text;
        this.#keep(slot, { ...kept, text, ...(rows > 1 && { next }) });
      } else this.#forget(slot);
      this.#copied.delete(slot);
      // Whoever gets several rows has them summed another way.
      if (rows === 1) singles.push({ sequence, slot, position });
    });
    const places = new Uint32Array(contextLengths.length);
    const all = singles.flatMap(({ sequence, slot, position }) => {
      const kept = this.#kept.get(slot), ready = position - position % this.#shape.square;
      const { place, text } = kept ?? { place: this.#takePlace(), text: this.#numTexts++ };
      places[sequence] = place;
      this.#keep(slot, { place, text, ready, next: position + 1 });
      return this.#ranges(kept?.ready, ready)
        .map((range) => ({ sequence, ...range, endOutput: Math.min(range.endOutput, this.#mostOutputs) }))
        .filter(({ firstOutput, endOutput }) => firstOutput < endOutput);
    });
    return { ...this.#divided(all), places };
  }

  /** Takes nothing for kept any more: where a step that was asked about has not run. */
  forgetAll(): void {
    for (const slot of [...this.#kept.keys()]) this.#forget(slot);
  }

  /** The largest by transforms, as far as there is room. */
  #divided(sums: readonly OnlineSum[]): Pick<OnlineStep, "sums" | "transforms"> {
    const { transforms } = this.#shape;
    if (!transforms) return { sums, transforms: [] };
    const chosen: OnlineSum[] = [];
    let room = transforms.room;
    for (const sum of sums.toSorted((a, b) => productsOf(b) - productsOf(a))) {
      const size = 2 ** Math.ceil(Math.log2(positionsOf(sum)));
      const pays = productsOf(sum) > transforms.worth * size;
      if (!pays || positionsOf(sum) > room || chosen.length === MOST_TRANSFORMS) continue;
      chosen.push(sum);
      room -= positionsOf(sum);
    }
    return { sums: sums.filter((sum) => !chosen.includes(sum)), transforms: chosen };
  }

  /** A text that gets a state of its own back, after drafts that were wrong, keeps its sums as far as these are its own. */
  #copy({ from, to }: StateCopy): void {
    const text = this.#kept.get(from)?.text ?? this.#copied.get(from);
    if (text === undefined || this.#kept.get(to)?.text !== text) this.#forget(to);
    if (text === undefined) this.#copied.delete(to);
    else this.#copied.set(to, text);
  }

  /** Undefined where what is kept is another sequence's, or knows inputs that are no longer the sequence's. */
  #keptFor(slot: number, position: number): Kept | undefined {
    const kept = this.#kept.get(slot);
    return kept && position > 0 && kept.ready <= position && position <= kept.next ? kept : undefined;
  }

  #keep(slot: number, kept: Kept): void {
    this.#kept.delete(slot);
    this.#kept.set(slot, kept);
  }

  #forget(slot: number): void {
    const kept = this.#kept.get(slot);
    if (!kept) return;
    this.#kept.delete(slot);
    this.#freePlaces.push(kept.place);
  }

  /** Where none is free, that of the slot that was used the longest ago: of none of this step's. */
  #takePlace(): number {
    if (this.#freePlaces.length === 0) this.#forget(this.#kept.keys().next().value!);
    return this.#freePlaces.pop()!;
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

/** Of one sequence in a step: one for each square size, where they are made anew, and what came before the window. */
export function mostSums({ window, square }: OnlineShape): number {
  return 2 + Math.log2(window / square);
}

/** Positions from the first input to the last output. */
export function positionsOf({ firstInput, endOutput }: OnlineSum): number {
  return endOutput - firstInput;
}

function productsOf({ firstInput, endInput, firstOutput, endOutput }: OnlineSum): number {
  return (endInput - firstInput) * (endOutput - firstOutput);
}

function allBefore(endInput: number, firstOutput: number, endOutput: number): Range {
  return { firstInput: 0, endInput, firstOutput, endOutput, adds: false };
}
