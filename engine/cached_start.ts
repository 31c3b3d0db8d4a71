// Where the text before the cursor, too long to be shown whole, may begin so that more of the prompt is computed already.
// After a jump the usual cut falls elsewhere, and nothing computed is of use; beginning where an earlier prompt did, what
// lies between the two places, and the suffix, are all there is to compute.
import { lineBoundaries } from "./anchored_cut.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface StartChoice {
  readonly tokenizer: Tokenizer;
  /** Tokens before the cursor, as many as might be shown. */
  readonly ids: readonly number[];
  /** Where the text is cut as a rule; an index of `ids`, as are the next two. */
  readonly usual: number;
  readonly first: number;
  readonly last: number;
  /** The prompt that shows `ids.slice(start, end)`. */
  readonly promptOf: (start: number, end?: number) => readonly number[];
  /** How many of a prompt's tokens are computed; never its last. */
  readonly countCached: (prompt: readonly number[]) => number;
}

/** What is less is read soon enough as it is. */
const MIN_UNCOMPUTED = 64;
/** Another start has to spare this share of what there is to compute: it may show less, or more than is of use. */
const WORTH = 1 / 4;
/** Tokens by which a start is tried: most are of no use, and it shows in the first. */
const PROBE = 16;

/** The start, `usual` or one on a line from `first` to `last`, with fewest tokens to compute. */
export function cheapestStart(choice: StartChoice): number {
  const { tokenizer, ids, usual, first, last, promptOf, countCached } = choice;
  const costOf = (start: number) => {
    const prompt = promptOf(start);
    return prompt.length - countCached(prompt);
  };
  const usualCost = costOf(usual);
  if (usualCost < MIN_UNCOMPUTED) return usual;
  const numBeforeText = commonLength(promptOf(usual, usual), promptOf(usual));
  const isTried = (start: number) =>
    start !== usual && countCached(promptOf(start, start + PROBE)) >= numBeforeText + PROBE - 1;
  let best = usual, least = usualCost * (1 - WORTH);
  for (const start of lineBoundaries(tokenizer, ids, first, last).filter(isTried)) {
    const cost = costOf(start);
    if (cost <= least) [best, least] = [start, cost];
  }
  return best;
}

/** How many tokens two prompts have in common at their beginning. */
function commonLength(a: readonly number[], b: readonly number[]): number {
  const differs = a.findIndex((id, index) => id !== b[index]);
  return differs < 0 ? a.length : differs;
}
