// A token bucket: what may be spent a minute, on average. Pure: times are passed in, in milliseconds.

const MINUTE_MS = 60_000;
/** Levels are sums of fractions: less than this is no debt. */
const ROUNDING_MS = 1e-3;

/**
 * Full at first, refilled evenly, never above a minute's worth. It may be overdrawn, because what a request costs is
 * known only while it runs; whoever overdraws it waits until the debt is paid.
 */
export class TokenBucket {
  readonly perMinute: number;
  #level: number;
  #at: number;

  /** @param perMinute its size, and what flows in a minute */
  constructor(perMinute: number, now: number) {
    this.perMinute = perMinute;
    this.#level = perMinute;
    this.#at = now;
  }

  /** What may be spent; negative while there is a debt. */
  level(now: number): number {
    const inflow = (Math.max(0, now - this.#at) / MINUTE_MS) * this.perMinute;
    this.#level = Math.min(this.perMinute, this.#level + inflow);
    this.#at = Math.max(this.#at, now);
    return this.#level;
  }

  spend(amount: number, now: number): void {
    this.#level = this.level(now) - amount;
  }

  /** Whole milliseconds until `amount` may be spent, 0 when it may be now. */
  msUntil(amount: number, now: number): number {
    const ms = ((amount - this.level(now)) / this.perMinute) * MINUTE_MS;
    return Math.max(0, Math.ceil(ms - ROUNDING_MS));
  }
}
