// What a step takes that only draws, by its number of rows: decodes and drafts, each with logits of its own. Measured as
// the engine runs, for it differs by device, model and load, and is no line: kernels take rows in tiles. Pure.

/** Weight of a new measurement. */
const WEIGHT = 1 / 8;
/** Until there are so many, the least counts: first steps of a size are late for reasons of their own. */
const FIRST_STEPS = 3;
/** A single measurement counts at most as this many times what was expected: pauses of the machine are no cost of rows. */
const MOST_TIMES = 2;
/** Steps after which a measurement that was not repeated counts no more; so nothing is dear, or cheap, for ever. */
const MEMORY_STEPS = 1024;

interface Measured {
  ms: number;
  count: number;
  at: number;
}

export class DrawCosts {
  readonly #byRows: (Measured | undefined)[] = [];
  #steps = 0;

  /** A step of `rows` rows took `ms` milliseconds. */
  record(rows: number, ms: number) {
    this.#steps++;
    const known = this.#at(rows);
    if (!known) this.#byRows[rows] = { ms, count: 1, at: this.#steps };
    else {
      known.ms = known.count < FIRST_STEPS
        ? Math.min(known.ms, ms)
        : known.ms + WEIGHT * (Math.min(ms, MOST_TIMES * known.ms) - known.ms);
      known.count++;
      known.at = this.#steps;
    }
  }

  /**
   * Milliseconds of a step of `rows` rows, by the measurements nearest to it on both sides. Beyond the last of them a row
   * more is taken for half as dear as the rows up to it: so more are tried where much is promised, and then are known.
   * Undefined before the first measurement.
   */
  ms(rows: number): number | undefined {
    let below = rows, above = rows;
    while (below > 0 && !this.#at(below)) below--;
    while (above < this.#byRows.length && !this.#at(above)) above++;
    const low = this.#at(below), high = this.#at(above);
    if (!high) return low && low.ms * (rows + below) / (2 * below);
    if (!low) return high.ms;
    return below === above ? low.ms : low.ms + (high.ms - low.ms) * (rows - below) / (above - below);
  }

  #at(rows: number): Measured | undefined {
    const known = this.#byRows[rows];
    return known && this.#steps - known.at <= MEMORY_STEPS ? known : undefined;
  }
}
