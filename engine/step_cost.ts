// What a step takes on this machine: a line through what the latest steps took, over their rows. Pure: times are
// passed in.

/** Weight of the past at each new step: the line follows a machine whose speed drifts within some fifty steps. */
const MEMORY = 0.98;

/**
 * A step that takes more times what was expected is an exception (shaders were compiled under it) and counts as so many
 * times; where one takes as many times less, what was expected comes from an exception.
 */
const MOST_TIMES = 4;

export class StepCost {
  /** Sums over steps, each weighted by its age: of 1, rows, ms, rows squared, rows times ms. */
  #weight = 0;
  #rows = 0;
  #ms = 0;
  #rowsSquared = 0;
  #rowsMs = 0;

  /** A step of so many rows took so long. */
  record(rows: number, ms: number) {
    if (this.#ms === 0) return this.#add(rows, ms);
    // The line may be wrong far from the steps that it is drawn through: fewer rows take no more than these, more no less.
    const expected = this.msOf(rows), mean = this.#ms / this.#weight;
    if (ms < Math.min(expected, mean) / MOST_TIMES) this.#forget();
    this.#add(rows, Math.min(ms, MOST_TIMES * Math.max(expected, mean)));
  }

  #forget() {
    [this.#weight, this.#rows, this.#ms, this.#rowsSquared, this.#rowsMs] = [0, 0, 0, 0, 0];
  }

  #add(rows: number, ms: number) {
    this.#weight = this.#weight * MEMORY + 1;
    this.#rows = this.#rows * MEMORY + rows;
    this.#ms = this.#ms * MEMORY + ms;
    this.#rowsSquared = this.#rowsSquared * MEMORY + rows * rows;
    this.#rowsMs = this.#rowsMs * MEMORY + rows * ms;
  }

  /** Milliseconds that a step of so many rows is expected to take; 0 before there was any. */
  msOf(rows: number): number {
    const { fixedMs, msPerRow } = this.#line;
    return fixedMs + msPerRow * rows;
  }

  /** Most rows of a step that is expected to take at most so long, perhaps none; Infinity before there was any step. */
  rowsWithin(ms: number): number {
    const { fixedMs, msPerRow } = this.#line;
    return msPerRow > 0 ? Math.max(0, Math.floor((ms - fixedMs) / msPerRow)) : ms > fixedMs ? Infinity : 0;
  }

  /** Least squares, with neither part below 0; where all steps had as many rows, in proportion to them. */
  get #line(): { fixedMs: number; msPerRow: number } {
    if (this.#weight === 0) return { fixedMs: 0, msPerRow: 0 };
    const [rows, ms] = [this.#rows / this.#weight, this.#ms / this.#weight];
    const variance = this.#rowsSquared / this.#weight - rows * rows;
    const covariance = this.#rowsMs / this.#weight - rows * ms;
    const slope = variance > 1e-6 * rows * rows ? Math.max(0, covariance / variance) : ms / rows;
    const msPerRow = Math.min(slope, ms / rows);
    return { fixedMs: ms - msPerRow * rows, msPerRow };
  }
}
