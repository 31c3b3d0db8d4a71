// Which blocks hold which tokens: a tree of blocks, by which a sequence finds the longest beginning of its tokens that
// is computed already. Where the blocks are is for cache_memory.ts. Pure: no device, no clock, no text; it says what to
// copy, and moves nothing.
import { BLOCK_SIZE, type BlockCopy, type HostMoves } from "../kernels/step.ts";
import type { BlockPool } from "./block_pool.ts";
import { CacheMemory } from "./cache_memory.ts";
import {
  type CachedBlock,
  type CacheSpace,
  type ChildBlocks,
  descendants,
  isFull,
  longestMatch,
  pathTo,
  startsWith,
  type TokenList,
} from "./cached_block.ts";

export type { CachedBlock, CacheSpace };

/** The beginning of a sequence that was found. */
export interface CacheHit {
  /** The last of `numBlocks` blocks that can be used as they are, those that are parked once they are brought back. */
  readonly last: CachedBlock | undefined;
  readonly numBlocks: number;
  /** The next `rows` tokens are the first rows of `source`. */
  readonly copy: { readonly source: CachedBlock; readonly rows: number } | undefined;
}

export const NO_HIT: CacheHit = { last: undefined, numBlocks: 0, copy: undefined };

export function numTokensOf({ numBlocks, copy }: CacheHit): number {
  return numBlocks * BLOCK_SIZE + (copy?.rows ?? 0);
}

/** A copy from a block that is held for it; from a parked one no such copy is needed. */
export interface HeldCopy extends BlockCopy {
  readonly source: CachedBlock;
}

/** Who holds a block holds its ancestors too, and lets go of them no earlier. */
export class PrefixCache {
  readonly #memory: CacheMemory;
  readonly #spaces = new Map<CacheSpace, ChildBlocks>();

  /** @param slots of the host's memory, for blocks that have to give way on the device */
  constructor(blocks: BlockPool, slots?: BlockPool) {
    this.#memory = new CacheMemory(blocks, slots, (block) => this.#remove(block));
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

  /** Forgets everything, moves too; nobody may hold a block. */
  clear() {
    this.#memory.cancelMoves();
    for (const block of this.#all()) this.#memory.drop(block);
    this.#spaces.clear();
  }

  /** The longest beginning of `tokens` in the space, of at most `limit`. Changes nothing. */
  find(space: CacheSpace, tokens: TokenList, limit: number): CacheHit {
    let hit = NO_HIT, children = this.#spaces.get(space);
    while (children) {
      const start = hit.numBlocks * BLOCK_SIZE;
      const { block, rows } = longestMatch(children, tokens, start, limit);
      if (!block) break;
      if (rows < BLOCK_SIZE) return { ...hit, copy: { source: block, rows } };
      hit = { last: block, numBlocks: hit.numBlocks + 1, copy: undefined };
      children = block.children;
    }
    return hit;
  }

  /** Blocks of `allocate` that holding the hit would take away: unused ones, and those to bring parked ones back to. */
  numTakenBy({ last, copy }: CacheHit): number {
    const blocks = copy && !copy.source.parked ? [copy.source, ...pathTo(last)] : pathTo(last);
    return blocks.filter((block) => this.#memory.isUnused(block)).length;
  }

  /** As `CacheMemory.allocate`. */
  allocate(count: number): number[] | undefined {
    return this.#memory.allocate(count);
  }

  /**
   * Holds what was found, and takes new blocks up to `count` in all. Room must be there.
   * @returns the block table, and what must be copied before the rows after the hit are computed
   */
  take({ last, numBlocks, copy }: CacheHit, count: number): { table: number[]; copy: HeldCopy | undefined } {
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
    else if (!isFull(block)) this.#dropCovered(block);
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
   * Checks that free blocks, held ones and the tree's are all blocks, and what may give way in which order.
   * @param held the blocks of all holders, a list each
   * @throws {Error} naming what is wrong
   */
  checkIntegrity(held: readonly (readonly number[])[]) {
    const blocks = this.#all();
    this.#memory.checkIntegrity(held, blocks);
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
      if (this.#memory.isUnused(block) && startsWith(other, block)) return this.#remove(block);
      // A full block may have descendants, and covers no full one but its twin.
      if (!isFull(other) && this.#memory.isUnused(other) && startsWith(block, other)) this.#remove(other);
    }
  }

  #siblings({ parent, space, tokens }: CachedBlock): CachedBlock[] {
    return [...(parent?.children ?? this.#spaces.get(space)!).get(tokens[0])!];
  }

  /** Takes a block that has no descendants out of the tree. */
  #remove(block: CachedBlock) {
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
