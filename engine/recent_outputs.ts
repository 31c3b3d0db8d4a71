// What was generated lately, to draft from: people ask again where they asked before, and get much the same. Shared as
// cached blocks are, by requests of one cache space and no others, for how fast a draft makes a reply tells what it is.
import { NgramIndex } from "./ngram_index.ts";
import type { CacheSpace } from "./prefix_cache.ts";
import type { Sequence } from "./sequence.ts";

/** Tokens of the prompt that go before an output, so that its beginning can be found. */
const LEAD_TOKENS = 8;

export interface RecentOutputsLimits {
  readonly maxSpaces?: number;
  /** Of a space: once there are as many, they become the older half, and the older half before is dropped. */
  readonly maxTokens?: number;
}

interface Halves {
  readonly younger: NgramIndex;
  readonly older?: NgramIndex;
}

/** Spaces that were used least recently go first. At the default limits all take some 20 MB at most. */
export class RecentOutputs {
  /** The most recently used last. */
  readonly #spaces = new Map<string, Halves>();
  readonly #maxSpaces: number;
  readonly #maxTokens: number;

  constructor({ maxSpaces = 16, maxTokens = 8192 }: RecentOutputsLimits = {}) {
    this.#maxSpaces = maxSpaces;
    this.#maxTokens = maxTokens;
  }

  get numSpaces(): number {
    return this.#spaces.size;
  }

  /** Adds what a sequence has generated; nothing where its request shares nothing. */
  add(sequence: Sequence) {
    const { cacheSpace, numGenerated, promptLength, numTokens } = sequence;
    if (typeof cacheSpace === "symbol" || numGenerated === 0) return;
    const younger = this.#roomIn(cacheSpace);
    for (let i = Math.max(0, promptLength - LEAD_TOKENS); i < numTokens; i++) {
      younger.push(sequence.tokenId(i));
    }
    younger.separate();
  }

  /** To be searched in this order. */
  of(space: CacheSpace): readonly NgramIndex[] {
    const halves = typeof space === "string" ? this.#spaces.get(space) : undefined;
    return halves ? [halves.younger, ...(halves.older ? [halves.older] : [])] : [];
  }

  #roomIn(space: string): NgramIndex {
    let halves = this.#spaces.get(space) ?? { younger: new NgramIndex() };
    if (halves.younger.length >= this.#maxTokens) {
      halves = { younger: new NgramIndex(), older: halves.younger };
    }
    this.#spaces.delete(space);
    this.#spaces.set(space, halves);
    const [oldest] = this.#spaces.keys();
    if (this.#spaces.size > this.#maxSpaces) this.#spaces.delete(oldest);
    return halves.younger;
  }
}
