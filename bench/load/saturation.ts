// The search for the rate at which a server is saturated: the highest at which it still answers nearly all in time.
// Pure: from the rates tried so far to the next one to try.

export interface RateResult {
  /** Requests a second that arrived. */
  readonly rate: number;
  /** Requests a second that were answered within the bounds. */
  readonly goodput: number;
}

export interface SaturationSearch {
  readonly firstRate: number;
  /** Halvings of the gap between the highest sustained rate and the lowest that was not. */
  readonly refinements: number;
  readonly maxRate: number;
}

/** Share of what arrives that has to be answered in time. */
const SUSTAINED = 0.9;
/** Below this part of the first rate nothing is looked for: the bounds cannot be met at all. */
const MIN_PART = 1 / 16;

export function isSustained({ rate, goodput }: RateResult): boolean {
  return goodput >= SUSTAINED * rate;
}

/** Doubles from the first rate on until one is not sustained (or halves until one is), then closes in. */
export function nextRate(
  results: readonly RateResult[],
  { firstRate, refinements, maxRate }: SaturationSearch,
): number | undefined {
  if (results.length === 0) return Math.min(firstRate, maxRate);
  const { good, bad } = bracketOf(results);
  if (bad === undefined) return good! < maxRate ? Math.min(2 * good!, maxRate) : undefined;
  if (good === undefined) return bad / 2 >= firstRate * MIN_PART ? bad / 2 : undefined;
  // From rates that differ by a factor of two, each halving (in the logarithm) takes the root of the factor.
  const narrowest = 2 ** (2 ** -refinements);
  return bad / good > narrowest * 1.001 ? Math.sqrt(good * bad) : undefined;
}

/** The highest sustained rate below every rate that was not; undefined where none was. */
export function saturationRate(results: readonly RateResult[]): number | undefined {
  return bracketOf(results).good;
}

function bracketOf(results: readonly RateResult[]): { good: number | undefined; bad: number | undefined } {
  const bad = results.filter((result) => !isSustained(result)).map(({ rate }) => rate);
  const lowestBad = bad.length > 0 ? Math.min(...bad) : undefined;
  const good = results.filter((result) => isSustained(result) && result.rate < (lowestBad ?? Infinity));
  return { good: good.length > 0 ? Math.max(...good.map(({ rate }) => rate)) : undefined, bad: lowestBad };
}
