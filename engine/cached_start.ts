// Where the text before the cursor, too long to be shown whole, may begin so that more of the prompt is computed already.
// After a jump the usual cut falls elsewhere, and nothing computed is of use; beginning where an earlier prompt did, what
// lies between the two places, and the suffix, are all there is to compute.
import { lineBoundaries } from "./anchored_cut.ts";
import type { Tokenizer } from "./tokenizer.ts";

export interface StartChoice {
  readonly tokenizer: Tokenizer;
  /** Tokens before the cursor, as many as might be shown, but for those that are backed up. */
  readonly ids: readonly number[];
  /** Where the text is cut as a rule; an index of `ids`, as are the next two. */
  readonly usual: number;
  readonly first: number;
  readonly last: number;
  /** What stands before them in any prompt. */
  readonly beforeText: readonly number[];
  /** The prompt that shows them from `start` on. */
  readonly promptFrom: (start: number) => readonly number[];
  /** How many of a prompt's tokens are computed; never its last. */
  readonly countCached: (prompt: readonly number[]) => number;
}

/** What is less is read soon enough as it is. */
const MIN_UNCOMPUTED = 64;
/** Another start has to spare this share of what there is to compute: it may show less, or more than is of use. */
const WORTH = 1 / 4;
/** Tokens by which a start is probed: most are of no use, and it shows in the first. */
const PROBE = 16;
/** Where lines are alike many starts look of use, and each takes a look at a whole prompt; the first show most. */
const MAX_TRIED = 16;

/** The start, `usual` or one on a line from `first` to `last`, with fewest tokens to compute. */
export function cheapestStart(choice: StartChoice): number {
  const { tokenizer, ids, usual, first, last, beforeText, promptFrom, countCached } = choice;
  const usualPrompt = promptFrom(usual), usualCached = countCached(usualPrompt);
  if (usualCached < beforeText.length) return usual;
  const usualCost = usualPrompt.length - usualCached;
  const canSpare = beforeText.length + ids.length - usual - usualCached;
  if (canSpare < Math.max(MIN_UNCOMPUTED, usualCost * WORTH)) return usual;
  const isOfUse = (start: number) => {
    const probe = [...beforeText, ...ids.slice(start, start + PROBE + 1)];
    return start !== usual && countCached(probe) >= beforeText.length + PROBE;
  };
  // What is shown no more counts as if it were computed: a start is chosen for what is cached, not for what it leaves out.
  const costOf = (start: number) => {
    const prompt = promptFrom(start);
    return prompt.length - countCached(prompt) + Math.max(0, start - usual);
  };
  const starts = lineBoundaries(tokenizer, ids, first, last).filter(isOfUse).slice(0, MAX_TRIED);
  let best = usual, least = usualCost * (1 - WORTH);
  for (const start of starts) {
    const cost = costOf(start);
    if (cost <= least) [best, least] = [start, cost];
  }
  return best;
}
