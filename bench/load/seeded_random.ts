// Random numbers that a seed decides, so that two servers are given the same load.

/** For the same seeds always the same numbers. */
export class SeededRandom {
  #state: number;

  /** Several seeds (a run's and an editor's, say) make one generator of their own. */
  constructor(...seeds: readonly number[]) {
    this.#state = seeds.reduce((state, seed) => hash(state + seed), 0x9e3779b9);
  }

  /** In [0, 1): a Weyl sequence through an integer hash. */
  uniform(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    return hash(this.#state) / 2 ** 32;
  }

  /** An integer in [0, end). */
  below(end: number): number {
    return Math.floor(this.uniform() * end);
  }

  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  /** @throws {RangeError} of an empty list */
  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new RangeError("Cannot pick from nothing");
    return items[this.below(items.length)];
  }

  exponential(mean: number): number {
    return -mean * Math.log(1 - this.uniform());
  }

  /** Gaps between keys are spread like this: many near the median, a few long ones. */
  logNormal(median: number, sigma: number): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return median * Math.exp(sigma * radius * Math.cos(2 * Math.PI * this.uniform()));
  }

  /** How many tries until one succeeds, 1 and more, with this mean. */
  geometric(mean: number): number {
    if (mean <= 1) return 1;
    return 1 + Math.floor(Math.log(1 - this.uniform()) / Math.log(1 - 1 / mean));
  }
}

function hash(value: number): number {
  let x = value >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}
