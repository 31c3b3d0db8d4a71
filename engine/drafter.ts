// Drafts for one sequence: the longest match of its last tokens, in itself or in recent outputs, and what followed it.
import { DraftChances, type DraftSource } from "./draft_chances.ts";
import { NgramIndex, type NgramMatch } from "./ngram_index.ts";
import type { Sequence } from "./sequence.ts";

/** Guesses at a sequence's next tokens. */
export interface DraftProposal {
  readonly ids: readonly number[];
  /** That each and all before it are right. */
  readonly chances: readonly number[];
}

interface Pending extends DraftProposal {
  readonly source: DraftSource;
  readonly matchLength: number;
}

export class Drafter {
  readonly #own: NgramIndex;
  readonly #chances: DraftChances;
  #pending: Pending | undefined;

  /**
   * @param prior what all sequences have seen
   * @param numTokens of the sequence at its longest
   */
  constructor(prior: DraftChances, numTokens: number) {
    this.#own = new NgramIndex(numTokens);
    this.#chances = new DraftChances(prior);
  }

  /**
   * At most `most` tokens; undefined when nothing matches.
   * @param recent outputs to search as well
   * @param neverDrafted ids before which a draft ends
   */
  propose(
    sequence: Sequence,
    recent: readonly NgramIndex[],
    most: number,
    neverDrafted: ReadonlySet<number>,
  ): DraftProposal | undefined {
    while (this.#own.length < sequence.numTokens) this.#own.push(sequence.tokenId(this.#own.length));
    const match = this.#longestMatch(recent);
    if (!match) return undefined;
    const continuation = match.index.continuation(match.next, most);
    const end = continuation.findIndex((id) => neverDrafted.has(id));
    const ids = end < 0 ? continuation : continuation.slice(0, end);
    const source = match.index === this.#own ? "own" : "recent";
    let chance = 1;
    const chances = ids.map((_, i) => chance *= this.#chances.chance(source, match.length + i));
    this.#pending = { ids, chances, source, matchLength: match.length };
    return this.#pending;
  }

  /** The tokens that came, in the place of those last proposed. Of what was not run the first shows all the same. */
  learn(held: readonly number[]) {
    const pending = this.#pending;
    this.#pending = undefined;
    if (!pending) return;
    for (let i = 0; i < Math.min(held.length, pending.ids.length); i++) {
      const right = held[i] === pending.ids[i];
      this.#chances.observe(pending.source, pending.matchLength + i, right);
      if (!right) return;
    }
  }

  #longestMatch(recent: readonly NgramIndex[]): NgramMatch | undefined {
    let longest = this.#own.find(this.#own);
    for (const index of recent) {
      const match = index.find(this.#own);
      if (match && match.length > (longest?.length ?? 0)) longest = match;
    }
    return longest;
  }
}
