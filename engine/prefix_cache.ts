// Which blocks hold which tokens: a tree of blocks, by which a sequence finds the longest beginning of its tokens that
// is computed already. Where the blocks are is for cache_memory.ts. Pure: no device, no clock, no text; it says what to
// copy, and moves nothing.
import { BLOCK_SIZE, type BlockCopy, type HostMoves } from "../kernels/step.ts";
import type { BlockPool } from "./block_pool.ts";
import { CacheMemory } from "./cache_memory.ts";
import {
  blockAt,
  type CachedBlock,
  type CacheSpace,
  type ChildBlocks,
  descendants,
  isFull,
  pathTo,
  startsWith,
  type TokenList,
} from "./cached_block.ts";
import { CachedStates } from "./cached_states.ts";
import { type CacheHit, findBlocks, findState } from "./prefix_search.ts";

export type { CachedBlock, CacheSpace };

/** A copy from a block that is held for it; from a parked one no such copy is needed. */
export interface HeldCopy extends BlockCopy {
  readonly source: CachedBlock;
}

/** Who holds a block holds its ancestors too, and lets go of them no earlier. */
export class PrefixCache {
  readonly #memory: CacheMemory;
  readonly #spaces = new Map<CacheSpace, ChildBlocks>();
  /**
   * Of models with recurrent layers. Of these a beginning is given up when nobody computes it any more and there is no
   * state after it, or after what follows it: nobody could go on from it.
   */
  readonly states: CachedStates | undefined;

  /**
   * @param slots of the host's memory, for blocks that have to give way on the device
   * @param numStateSlots for the states of recurrent layers; 0 where there are none
   */
  constructor(blocks: BlockPool, slots?: BlockPool, numStateSlots = 0) {
    this.#memory = new CacheMemory(blocks, slots, (block) => this.#remove(block));
    this.states = numStateSlots > 0
      ? new CachedStates(numStateSlots, (block) => this.#prune(block))
      : undefined;
  }

  /** Blocks of the device that hold tokens and that nobody uses. */
  get numUnused(): number {
    return this.#memory.numUnused;
  }

  /** Blocks in host memory. */
  get numParked(): number {
    return this.#memory.numParked;
  }

  /** Blocks that `allocate` can give. */
  get numAvailable(): number {
    return this.#memory.numAvailable;
  }

  get numMoved(): CacheMemory["numMoved"] {
    return this.#memory.numMoved;
  }

  get blockMap(): CacheMemory["blockMap"] {
    return this.#memory.blockMap;
  }

  /** What the next step has to move. */
  get moves(): HostMoves {
    return this.#memory.moves;
  }

  /** The same, as that step begins; `settle` says that the first of those under way has run. */
  beginMoves(): HostMoves {
    return this.#memory.beginMoves();
  }

  settle() {
    this.#memory.settle();
  }

  /** Forgets everything, moves and copies too; nobody may hold a block. */
  clear() {
    this.#memory.cancelMoves();
    this.states?.clear();
    for (const block of this.#all()) this.#memory.drop(block);
    this.#spaces.clear();
  }

  /** The longest beginning of `tokens` in the space, of at most `limit`. Changes nothing. */
  find(space: CacheSpace, tokens: TokenList, limit: number): CacheHit {
    const find = this.states ? findState : findBlocks;
    return find(this.#spaces.get(space), tokens, limit);
  }

  /**
   * Blocks of `allocate` that holding the hit would take away: unused ones, and those to bring parked ones back to.
   * @param freed blocks of the device that count as unused
   */
  numTakenBy({ last, copy }: CacheHit, freed: ReadonlySet<number>): number {
    const blocks = copy && !copy.source.parked ? [copy.source, ...pathTo(last)] : pathTo(last);
    return blocks.filter((one) => this.#memory.isUnused(one) || freed.has(one.block)).length;
  }

  /** As `CacheMemory.allocate`. */
  allocate(count: number): number[] | undefined {
    return this.#memory.allocate(count);
  }

  /**
   * Holds what was found, and takes new blocks up to `count` in all. Room must be there.
   * @returns the block table, and what must be copied before the rows after the hit are computed
   */
  take(hit: CacheHit, count: number): { table: number[]; copy: HeldCopy | undefined } {
    const { last, numBlocks, copy, state } = hit;
    if (state) this.states!.use(state);
    const slot = copy?.source.parked ? this.#memory.readSlot(copy.source) : undefined;
    if (copy && slot === undefined) this.#memory.hold(copy.source);
    const path = pathTo(last).reverse();
    this.#memory.holdPath(path);
    const table = [...path.map(({ block }) => block), ...this.#memory.allocate(count - numBlocks)!];
    if (slot !== undefined) this.#memory.copySlot(slot, table[numBlocks]);
    if (!copy || slot !== undefined) return { table, copy: undefined };
    return { table, copy: { ...copy, from: copy.source.block, to: table[numBlocks] } };
  }

  /** A path whose sequence will be back. */
  want(last: CachedBlock | undefined) {
    for (const block of pathTo(last)) block.wanted = true;
  }

  /** Drops a reference of a block that is held. */
  release(block: CachedBlock) {
    if (!this.#memory.release(block)) return;
    if (typeof block.space === "symbol") this.#remove(block);
    else {
      if (!isFull(block)) this.#dropCovered(block);
      if (this.states) this.#prune(block);
    }
  }

  /** Drops a reference of a block and of its ancestors. */
  releasePath(last: CachedBlock | undefined) {
    for (const block of pathTo(last)) this.release(block);
  }

  /**
   * Records that K and V of the first `end` tokens are in the blocks of `table`, whose path so far ends in `last`.
   * Where another sequence filled a block with the same tokens before, the table takes that block in place of its own.
   * @returns the block in which the path ends now
   */
  record(
    space: CacheSpace,
    last: CachedBlock | undefined,
    tokens: TokenList,
    end: number,
    table: number[],
  ): CachedBlock | undefined {
    let recorded = last ? last.index * BLOCK_SIZE + last.tokens.length : 0;
    while (recorded < end) {
      const index = Math.floor(recorded / BLOCK_SIZE);
      const block = last && !isFull(last)
        ? last
        : this.#add(space, last, tokens.tokenId(recorded), table[index]);
      const until = Math.min(end, (index + 1) * BLOCK_SIZE);
      while (recorded < until) block.tokens.push(tokens.tokenId(recorded++));
      last = isFull(block) ? this.#fold(block) : block;
      table[index] = last.block;
    }
    return last;
  }

  /**
   * Keeps the state after the first `numTokens` tokens of the path that ends in `last`, which has recorded them.
   * @param slot where the state is, or will be once the next step begins; it is the cache's from now on
   */
  keepState(last: CachedBlock | undefined, numTokens: number, slot: number) {
    const index = Math.ceil(numTokens / BLOCK_SIZE) - 1, rows = numTokens - index * BLOCK_SIZE;
    const block = blockAt(last, index);
    if (block && block.tokens.length >= rows) this.states!.keep(block, rows, slot);
    else this.states!.free(slot);
  }

  /**
   * Checks that free blocks, held ones and the tree's are all blocks, and what may give way in which order.
   * @param held the blocks of all holders, a list each
   * @param heldSlots the state slots of all holders
   * @throws {Error} naming what is wrong
   */
  checkIntegrity(held: readonly (readonly number[])[], heldSlots: readonly number[] = []) {
    const blocks = this.#all();
    this.#memory.checkIntegrity(held, blocks);
    this.states?.checkIntegrity(heldSlots, blocks);
    for (const { block, tokens, parent } of blocks) {
      if (tokens.length > 0 && (!parent || isFull(parent))) continue;
      throw new Error(
        `Prefix cache is corrupt: block ${block} is empty or follows one that is not full`,
      );
    }
  }

  #all(): CachedBlock[] {
    return [...this.#spaces.values()].flatMap((children) => descendants(children));
  }

  #add(
    space: CacheSpace,
    parent: CachedBlock | undefined,
    firstToken: number,
    block: number,
  ): CachedBlock {
    const index = parent ? parent.index + 1 : 0;
    const added = {
      block,
      parked: false,
      wanted: false,
      index,
      parent,
      space,
      tokens: [],
      children: new Map(),
      states: new Map(),
    };
    const children = parent?.children ?? this.#spaces.get(space) ?? new Map();
    if (!parent) this.#spaces.set(space, children);
    const siblings = children.get(firstToken) ?? new Set();
    children.set(firstToken, siblings.add(added));
    this.#memory.add(added);
    return added;
  }

  /** A block that has just become full: itself, or an equal one in its place. */
  #fold(full: CachedBlock): CachedBlock {
    const twin = this.#siblings(full).find((other) =>
      other !== full && isFull(other) && startsWith(other, full)
    );
    // Somebody may be about to copy from the block; then both stay.
    if (!twin || this.#memory.isShared(full)) {
      this.#dropCovered(full);
      return full;
    }
    this.states?.moveAll(full, twin);
    if (twin.parked) {
      this.#memory.replaceParked(twin, full);
      this.#detach(full);
    } else {
      this.#memory.hold(twin);
      this.#memory.release(full);
      this.#remove(full);
    }
    return twin;
  }

  /** Of two siblings of which one begins with the tokens of the other, only the longer is of use. */
  #dropCovered(block: CachedBlock) {
    for (const other of this.#siblings(block)) {
      if (other === block) continue;
      if (this.#memory.isUnused(block) && startsWith(other, block)) return this.#replace(block, other);
      // A full block may have descendants, and covers no full one but its twin.
      if (!isFull(other) && this.#memory.isUnused(other) && startsWith(block, other)) {
        this.#replace(other, block);
      }
    }
  }

  #replace(block: CachedBlock, longer: CachedBlock) {
    this.states?.moveAll(block, longer);
    this.#remove(block);
  }

  /** Takes blocks out from which, and after which, nobody can go on. What gives way itself is old; so is what led to it. */
  #prune(last: CachedBlock | undefined) {
    for (let block = last; this.states && block && this.#isUseless(block); block = block.parent) {
      this.#remove(block);
    }
  }

  #isUseless(block: CachedBlock): boolean {
    return block.states.size === 0 && block.children.size === 0 && this.#memory.isUnused(block);
  }

  #siblings({ parent, space, tokens }: CachedBlock): CachedBlock[] {
    return [...(parent?.children ?? this.#spaces.get(space)!).get(tokens[0])!];
  }

  /** Takes a block that has no descendants out of the tree. */
  #remove(block: CachedBlock) {
    this.states?.dropAll(block);
    this.#detach(block);
    this.#memory.drop(block);
  }

  #detach(block: CachedBlock) {
    const { parent, space, tokens } = block;
    const children = parent?.children ?? this.#spaces.get(space)!;
    const siblings = children.get(tokens[0])!;
    siblings.delete(block);
    if (siblings.size === 0) children.delete(tokens[0]);
    if (!parent && children.size === 0) this.#spaces.delete(space);
  }
}
