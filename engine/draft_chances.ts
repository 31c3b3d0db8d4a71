// How likely a drafted token is to be the right one, as learned from those before: by where its match was found and how
// long it is. Every drawn token teaches, also where its draft was not run, so nothing is run only to find out. Pure.
import { MAX_MATCH } from "./ngram_index.ts";

/** own: the sequence's prompt and what it has generated. recent: what others have. */
export type DraftSource = "own" | "recent";

/** A drafted token's chance is that of its class: matches that begin at these lengths, by source. */
const CLASS_STARTS = [2, 3, 4, 6, 9, 17] as const;
/** Before anything was observed. Low, for what is learned costs nothing, and what is run does. */
const FIRST_CHANCE = 0.25;
/** Observations after which half of them are forgotten. */
const MEMORY = 256;
/** How many observations outweigh what is supposed without any. */
const PRIOR_WEIGHT = 4;

interface Tally {
  tried: number;
  right: number;
}

export class DraftChances {
  readonly #classes = {
    own: CLASS_STARTS.map((): Tally => ({ tried: 0, right: 0 })),
    recent: CLASS_STARTS.map((): Tally => ({ tried: 0, right: 0 })),
  };
  readonly #others: DraftChances | undefined;
  readonly #firstChance: number;

  /** @param others what all have seen, which is supposed of one until it is seen otherwise */
  constructor(others?: DraftChances, firstChance = FIRST_CHANCE) {
    this.#others = others;
    this.#firstChance = firstChance;
  }

  /** A token that was drafted after a match of `matchLength` tokens; also told to the others. */
  observe(source: DraftSource, matchLength: number, right: boolean) {
    this.#others?.observe(source, matchLength, right);
    const tally = this.#classes[source][classOf(matchLength)];
    tally.tried++;
    if (right) tally.right++;
    if (tally.tried < MEMORY) return;
    tally.tried /= 2;
    tally.right /= 2;
  }

  /** From 0 to 1. */
  chance(source: DraftSource, matchLength: number): number {
    return this.#chanceOf(source, classOf(matchLength));
  }

  #chanceOf(source: DraftSource, index: number): number {
    const { tried, right } = this.#classes[source][index];
    const supposed = this.#supposed(source, index);
    return (right + PRIOR_WEIGHT * supposed) / (tried + PRIOR_WEIGHT);
  }

  /** Without observations: what others have seen, or else that a match is as good as the next shorter ones. */
  #supposed(source: DraftSource, index: number): number {
    if (this.#others) return this.#others.#chanceOf(source, index);
    return index > 0 ? this.#chanceOf(source, index - 1) : this.#firstChance;
  }
}

function classOf(matchLength: number): number {
  return CLASS_STARTS.findLastIndex((start) => start <= Math.min(matchLength, MAX_MATCH));
}
