// What a list of measured times amounts to. Knows nothing of requests.

/** A time that was measured, or that was cut off: then it would have been longer. */
export interface Observation {
  readonly ms: number;
  readonly cutOff: boolean;
}

/** Percentiles as the reports have them, interpolated between neighbours; undefined of nothing. */
export interface Spread {
  readonly p50: number | undefined;
  readonly p95: number | undefined;
  readonly p99: number | undefined;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  return { p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), p99: quantile(sorted, 0.99) };
}

/** @param sorted ascending */
export function quantile(sorted: readonly number[], share: number): number | undefined {
  if (sorted.length === 0) return undefined;
  const at = share * (sorted.length - 1), below = Math.floor(at);
  const low = sorted[below], high = sorted[Math.min(below + 1, sorted.length - 1)];
  return low + (high - low) * (at - below);
}

/** Share of observations that are over by each time at which one is. */
export interface Distribution {
  readonly ms: number;
  readonly share: number;
}

/**
 * The distribution behind times of which some were cut off (Kaplan and Meier, 1958). Those that were answered alone
 * would flatter a slow server: a request that the next key press ends counts among them only if it was quick.
 */
export function distributionOf(observations: readonly Observation[]): Distribution[] {
  const sorted = [...observations].sort((a, b) => a.ms - b.ms || Number(a.cutOff) - Number(b.cutOff));
  const points: Distribution[] = [];
  let unanswered = 1;
  for (const [i, { ms, cutOff }] of sorted.entries()) {
    if (cutOff) continue;
    unanswered *= 1 - 1 / (sorted.length - i);
    points.push({ ms, share: 1 - unanswered });
  }
  return points;
}

/** The time by which that share is answered; undefined where too many were cut off to tell. */
export function quantileOf(distribution: readonly Distribution[], share: number): number | undefined {
  return distribution.find((point) => point.share >= share - 1e-9)?.ms;
}

/** Slope of the least-squares line through the points; 0 where there is none to be had. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const n = points.length;
  if (n < 2) return 0;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / n;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / n;
  const varianceX = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  return varianceX === 0 ? 0 : points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / varianceX;
}

export function meanOf(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
}
