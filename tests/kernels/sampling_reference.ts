// Sampling written from its definition, in float64 with a full sort: what the kernels and the host's sampler are measured
// against.
import type { SamplingParams } from "../../kernels/step.ts";

export interface ReferenceToken {
  readonly id: number;
  readonly probability: number;
}

/**
 * The tokens that may be drawn with their probabilities, likeliest first (of equals the lower id).
 * Temperature; then every logit at least the k-th largest; then everything at least minP times as likely as the
 * likeliest; then, of what is left, the fewest likeliest tokens that hold topP, with all equals of the last.
 */
export function keptTokens(
  logits: ArrayLike<number>,
  params: SamplingParams,
  suppressed: ReadonlySet<number>,
): ReferenceToken[] {
  const allowed = Array.from(logits, (logit, id) => ({ id, logit }))
    .filter(({ id, logit }) => !suppressed.has(id) && !Number.isNaN(logit))
    .sort((a, b) => b.logit - a.logit || a.id - b.id);
  const kthLogit = allowed[Math.min(params.topK || Infinity, allowed.length) - 1].logit;
  const weighted = allowed
    .filter(({ logit }) => logit >= kthLogit)
    .map(({ id, logit }) => ({
      id,
      logit,
      probability: Math.exp((logit - allowed[0].logit) / params.temperature),
    }))
    .filter(({ probability }) => probability >= params.minP);
  return normalised(nucleus(normalised(weighted), params.topP));
}

function nucleus<T extends ReferenceToken & { logit: number }>(tokens: T[], topP: number): T[] {
  if (topP >= 1) return tokens;
  let mass = 0;
  const last = tokens.find(({ probability }) => (mass += probability) >= topP) ?? tokens.at(-1)!;
  return tokens.filter(({ logit }) => logit >= last.logit);
}

function normalised<T extends ReferenceToken>(tokens: T[]): T[] {
  const total = tokens.reduce((sum, { probability }) => sum + probability, 0);
  return tokens.map((token) => ({ ...token, probability: token.probability / total }));
}

/**
 * How far `draw`, in [0, 1), lies outside the share of token `id` when the shares of all tokens are laid side by side in
 * the order of ids; 0 inside, Infinity when the token has no share.
 */
export function distanceFromShare(id: number, draw: number, tokens: readonly ReferenceToken[]): number {
  const own = tokens.find((token) => token.id === id);
  if (!own) return Infinity;
  const start = tokens.reduce((sum, token) => token.id < id ? sum + token.probability : sum, 0);
  return Math.max(start - draw, draw - (start + own.probability), 0);
}

/** Log-softmax of all logits. */
export function logprobsOf(logits: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(logits);
  const most = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const logSum = most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return values.map((value) => value - logSum);
}

/**
 * Pearson's chi-square of draws against probabilities, as standard deviations from its mean (Wilson and Hilferty). Tokens
 * expected fewer than 8 times are pooled. Infinity when something was drawn that has no probability.
 */
export function chiSquareDeviation(draws: ArrayLike<number>, tokens: readonly ReferenceToken[]): number {
  const counts = new Map<number, number>();
  for (const id of Array.from(draws)) counts.set(id, (counts.get(id) ?? 0) + 1);
  const known = new Set(tokens.map(({ id }) => id));
  if ([...counts.keys()].some((id) => !known.has(id))) return Infinity;
  let statistic = 0, cells = 0, pooledCount = 0, pooledExpected = 0;
  for (const { id, probability } of tokens) {
    pooledCount += counts.get(id) ?? 0;
    pooledExpected += probability * draws.length;
    if (pooledExpected < 8) continue;
    statistic += (pooledCount - pooledExpected) ** 2 / pooledExpected;
    cells++;
    pooledCount = pooledExpected = 0;
  }
  const freedom = cells - 1;
  if (freedom < 1) return 0;
  const spread = 2 / (9 * freedom);
  return (Math.cbrt(statistic / freedom) - (1 - spread)) / Math.sqrt(spread);
}
