// Random inputs for tests: fresh in every run, the same again when HYADES_TEST_SEED is set to the seed that was printed.

/** The seed of this run. */
export function testSeed(): number {
  const given = Deno.env.get("HYADES_TEST_SEED");
  return given === undefined ? crypto.getRandomValues(new Uint32Array(1))[0] : Number(given) >>> 0;
}

/** Random numbers from a 32-bit seed; for each seed always the same sequence. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A 32-bit word: a Weyl sequence through an integer hash (multiply and xor-shift). */
  word(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return (x ^ (x >>> 15)) >>> 0;
  }

  /** In [0, 1). */
  uniform(): number {
    return this.word() / 2 ** 32;
  }

  /** An integer in [0, end). */
  below(end: number): number {
    return Math.floor(this.uniform() * end);
  }

  /** From N(mean, deviation²), by Box and Muller. */
  normal(mean = 0, deviation = 1): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return mean + deviation * radius * Math.cos(2 * Math.PI * this.uniform());
  }

  normals(count: number, mean = 0, deviation = 1): Float32Array<ArrayBuffer> {
    return Float32Array.from({ length: count }, () => this.normal(mean, deviation));
  }

  /** `count` integers in [0, end). */
  integers(count: number, end: number): Uint32Array<ArrayBuffer> {
    return Uint32Array.from({ length: count }, () => this.below(end));
  }

  /** `count` of the items, none twice. */
  choose<T>(items: readonly T[], count: number): T[] {
    const left = [...items];
    return Array.from({ length: count }, () => left.splice(this.below(left.length), 1)[0]);
  }
}
