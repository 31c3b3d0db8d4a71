// The slots for what recurrent layers keep of a sequence: which are free, and which are held. A slot is one sequence's
// alone, so nothing is counted. Pure bookkeeping over ids: the memory itself belongs to the runner.

export class StatePool {
  readonly numSlots: number;
  /** Free ids as a stack, as in `BlockPool`. */
  readonly #free: number[];
  readonly #isHeld: Uint8Array;

  /** @throws {RangeError} when there is not a single slot */
  constructor(numSlots: number) {
    if (!Number.isSafeInteger(numSlots) || numSlots < 1) {
      throw new RangeError(`Cannot make state pool: it must hold at least 1 slot, received ${numSlots}`);
    }
    this.numSlots = numSlots;
    this.#free = Array.from({ length: numSlots }, (_, index) => numSlots - 1 - index);
    this.#isHeld = new Uint8Array(numSlots);
  }

  get numFree(): number {
    return this.#free.length;
  }

  /** @returns undefined when none is free */
  allocate(): number | undefined {
    const slot = this.#free.pop();
    if (slot !== undefined) this.#isHeld[slot] = 1;
    return slot;
  }

  /** @throws {RangeError} for a slot that is not held: two sequences would write to it */
  free(slot: number) {
    if (!this.#isHeld[slot]) {
      throw new RangeError(
        `Cannot free state slot ${slot}: it must be held, it is free or no slot of this pool`,
      );
    }
    this.#isHeld[slot] = 0;
    this.#free.push(slot);
  }

  /**
   * Checks that free and held slots are all slots.
   * @param held the slots of all sequences
   * @throws {Error} naming the first slot that is not where it should be
   */
  checkIntegrity(held: Iterable<number>) {
    const places = new Uint32Array(this.numSlots), holders = new Uint32Array(this.numSlots);
    for (const slot of this.#free) places[slot]++;
    for (const slot of held) {
      places[slot]++;
      holders[slot]++;
    }
    for (let slot = 0; slot < this.numSlots; slot++) {
      if (places[slot] === 1 && holders[slot] === this.#isHeld[slot]) continue;
      throw new Error(
        `State pool is corrupt: slot ${slot} is neither free nor held, both, or held or free twice`,
      );
    }
  }
}
