// How many drafted tokens a step should have: as many as give the most new tokens a millisecond, which may be none. The
// rule is that of goodput (Liu et al. 2024, "Optimizing Speculative Decoding for Serving Large Language Models Using
// Goodput", arXiv:2406.14066, section 4), for drafts that cost rows and nothing else: those that they have themselves and,
// where layers are recurrent, those that are computed again after a wrong one. Pure.

/** What others in the step may wait longer for their token because of somebody's drafts. */
const MOST_DELAY = 1.25;
/** Less likely tokens are not run, however little a row seems to cost: on any device it costs something. */
const LEAST_CHANCE = 1 / 16;
/** What drafts must promise over none: figures that are measured are off by as much, and a row is a sure cost. */
const LEAST_GAIN = 1.1;

export interface DraftedStep {
  /** Rows that draw without any draft: each yields a token. */
  readonly numDraws: number;
  /** Most rows of drafts. */
  readonly room: number;
  /** Milliseconds of a step by its rows; undefined: not known yet. */
  readonly msOf: (rows: number) => number | undefined;
  /**
   * After a wrong draft the step's rows of its sequence, but for that draft and those after it, are computed again beside
   * the next token's.
   */
  readonly redoes?: boolean;
}

/**
 * @param chances for each sequence that has a draft, that its first 1, 2, ... tokens are right
 * @returns how many tokens of each to run
 */
export function chooseDraftLengths(chances: readonly (readonly number[])[], step: DraftedStep): number[] {
  const { numDraws, room, msOf, redoes = false } = step;
  const withoutMs = msOf(numDraws);
  if (withoutMs === undefined) return chances.map(() => 0);
  const rows = chances.flatMap((ofOne, which) => ofOne.map((chance) => ({ which, chance })))
    .filter(({ chance }) => chance >= LEAST_CHANCE)
    .sort((a, b) => b.chance - a.chance).slice(0, room);
  const expected = chances.map(() => 1);
  const lengths = chances.map(() => 0);
  let tokens = numDraws, redone = 0, bestRate = LEAST_GAIN * numDraws / withoutMs, bestCount = 0;
  for (const [index, { which, chance }] of rows.entries()) {
    const before = chances[which][lengths[which]++ - 1] ?? 1;
    if (redoes) redone += (before - chance) * lengths[which];
    tokens += chance;
    expected[which] += chance;
    const ms = msOf(numDraws + index + 1)! + msOf(numDraws + Math.ceil(redone))! - withoutMs;
    const least = chances.length < numDraws ? 1 : Math.min(...expected);
    if (ms > MOST_DELAY * least * withoutMs || tokens / ms <= bestRate) continue;
    [bestRate, bestCount] = [tokens / ms, index + 1];
  }
  const best = rows.slice(0, bestCount);
  return chances.map((_, which) => best.filter((row) => row.which === which).length);
}
