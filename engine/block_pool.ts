// The paged KV cache's blocks: which are free, and how many sequences hold each. Pure bookkeeping over ids: the
// memory itself belongs to the runner.

/** Blocks are handed out by id and counted by reference, so that sequences can share the blocks of a common prompt. */
export class BlockPool {
  readonly numBlocks: number;
  /** Free ids as a stack: the block freed last is the one most likely still in a cache. */
  readonly #free: number[];
  readonly #references: Uint32Array;

  /** @throws {RangeError} when there is not a single block. */
  constructor(numBlocks: number) {
    if (!Number.isSafeInteger(numBlocks) || numBlocks < 1) {
      throw new RangeError(`Cannot make block pool: it must hold at least 1 block, received ${numBlocks}`);
    }
    this.numBlocks = numBlocks;
    this.#free = Array.from({ length: numBlocks }, (_, index) => numBlocks - 1 - index);
    this.#references = new Uint32Array(numBlocks);
  }

  get numFree(): number {
    return this.#free.length;
  }

  /**
   * Takes `count` blocks, each with one reference, or none at all.
   * @returns undefined when fewer than `count` are free
   */
  allocate(count: number): number[] | undefined {
    if (count > this.#free.length) return undefined;
    const blocks = count === 0 ? [] : this.#free.splice(-count).reverse();
    for (const block of blocks) this.#references[block] = 1;
    return blocks;
  }

  /** Adds a reference to each block: a second sequence reads it from now on, and nobody may write it. */
  share(blocks: readonly number[]) {
    for (const block of blocks) {
      this.#requireHeld(block, "share");
      this.#references[block]++;
    }
  }

  /**
   * Drops one reference of each block; those that nobody holds any more are free.
   * @throws {RangeError} for a block that is not held: somebody would read what another sequence writes
   */
  free(blocks: readonly number[]) {
    for (const block of blocks) {
      this.#requireHeld(block, "free");
      if (--this.#references[block] === 0) this.#free.push(block);
    }
  }

  references(block: number): number {
    return this.#references[block];
  }

  /** A byte for each block, by its references. */
  map(toByte: (references: number) => number): Uint8Array {
    const bytes = new Uint8Array(this.numBlocks);
    for (let block = 0; block < this.numBlocks; block++) bytes[block] = toByte(this.#references[block]);
    return bytes;
  }

  /**
   * Checks that free and held blocks are all blocks, and that the references are those of `tables`, the block tables
   * of all sequences.
   * @throws {Error} naming the first block whose count is wrong
   */
  checkIntegrity(tables: Iterable<readonly number[]>) {
    const expected = new Uint32Array(this.numBlocks);
    for (const table of tables) for (const block of table) expected[block]++;
    const free = new Uint8Array(this.numBlocks);
    for (const block of this.#free) free[block]++;
    for (let block = 0; block < this.numBlocks; block++) {
      const references = this.#references[block];
      if (references !== expected[block]) {
        throw new Error(
          `Block pool is corrupt: block ${block} has ${references} references, sequences hold ${
            expected[block]
          }`,
        );
      }
      if (free[block] !== (references === 0 ? 1 : 0)) {
        throw new Error(
          `Block pool is corrupt: block ${block} is neither free nor held, both, or free twice`,
        );
      }
    }
  }

  #requireHeld(block: number, action: string) {
    if (!(this.#references[block] > 0)) {
      throw new RangeError(
        `Cannot ${action} block ${block}: it must be held, it is free or no block of this pool`,
      );
    }
  }
}
