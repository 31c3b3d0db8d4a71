// How likely a drafted token is to be the right one, as learned from those before: by where its match was found and how
// long it is. Every drawn token teaches, also where its draft was not run, so nothing is run only to find out. Pure.
import { MAX_MATCH } from "./ngram_index.ts";

/** own: the sequence's prompt and what it has generated. recent: what others have. */
export type DraftSource = "own" | "recent";

/** A drafted token's chance is that of its class: matches that begin at these lengths, by source. */
const CLASS_STARTS = [2, 3, 4, 6, 9, 17] as const;
const NUM_CLASSES = 2 * CLASS_STARTS.length;
/** Observations after which half of them are forgotten. */
const MEMORY = 256;
/** How many observations of its own outweigh all that a sequence has not seen itself. */
const PRIOR_WEIGHT = 4;

export class DraftChances {
  readonly #tried = new Float64Array(NUM_CLASSES);
  readonly #right = new Float64Array(NUM_CLASSES);
  readonly #prior: DraftChances | undefined;

  /** @param prior what others have seen; without any it is one of two */
  constructor(prior?: DraftChances) {
    this.#prior = prior;
  }

  /** A token that was drafted after a match of `matchLength` tokens; also told to the prior. */
  observe(source: DraftSource, matchLength: number, right: boolean) {
    this.#prior?.observe(source, matchLength, right);
    const index = classOf(source, matchLength);
    this.#tried[index]++;
    if (right) this.#right[index]++;
    if (this.#tried[index] < MEMORY) return;
    this.#tried[index] /= 2;
    this.#right[index] /= 2;
  }

  /** From 0 to 1. */
  chance(source: DraftSource, matchLength: number): number {
    const index = classOf(source, matchLength);
    const prior = this.#prior?.chance(source, matchLength) ?? 0.5;
    return (this.#right[index] + PRIOR_WEIGHT * prior) / (this.#tried[index] + PRIOR_WEIGHT);
  }
}

function classOf(source: DraftSource, matchLength: number): number {
  const length = Math.min(matchLength, MAX_MATCH);
  return (source === "own" ? 0 : CLASS_STARTS.length) +
    CLASS_STARTS.findLastIndex((start) => start <= length);
}
