// Which blocks hold which tokens: a tree of blocks over the pool, by which a sequence finds the longest beginning of
// its tokens that is computed already. Pure: no device, no clock, no text; it says what to copy, and moves nothing.
import { BLOCK_SIZE } from "../kernels/step.ts";
import type { BlockPool } from "./block_pool.ts";

/**
 * Whose blocks may be shared: sequences of one string share theirs, also after they end. A symbol is the private space
 * of one request, of which nothing is left when its last sequence ends.
 */
export type CacheSpace = string | symbol;

/** Token ids by index. */
export interface TokenList {
  tokenId(index: number): number;
}

/**
 * A block in the tree. Its first `tokens.length` rows hold K and V of these tokens, which follow those of its
 * ancestors, all full. Rows are only ever added, and only by the sequence that holds the block and is not done with it;
 * others may use a full block as it is, and copy rows of one that is not.
 */
export interface CachedBlock {
  /** Its id in the pool. */
  readonly block: number;
  /** Number of ancestors. */
  readonly index: number;
  readonly parent: CachedBlock | undefined;
  readonly space: CacheSpace;
  readonly tokens: number[];
  readonly children: ChildBlocks;
}

/** The blocks that follow a block, by their first token. */
type ChildBlocks = Map<number, Set<CachedBlock>>;

/** The beginning of a sequence that was found. */
export interface CacheHit {
  /** The last of `numBlocks` blocks that can be used as they are. */
  readonly last: CachedBlock | undefined;
  readonly numBlocks: number;
  /** The next `rows` tokens are the first rows of `source`. */
  readonly copy: { readonly source: CachedBlock; readonly rows: number } | undefined;
}

export const NO_HIT: CacheHit = { last: undefined, numBlocks: 0, copy: undefined };

export function numTokensOf({ numBlocks, copy }: CacheHit): number {
  return numBlocks * BLOCK_SIZE + (copy?.rows ?? 0);
}

/**
 * The tree holds one reference of each block in it; a block with no other is unused, and is given away when the pool
 * has no free one, the least recently used first. Who holds a block holds its ancestors too, and lets go of them no
 * earlier: so the descendants of an unused block are unused, and come before it in `#unused`.
 */
export class PrefixCache {
  readonly #pool: BlockPool;
  readonly #spaces = new Map<CacheSpace, ChildBlocks>();
  /** In the order in which they were last let go of. */
  readonly #unused = new Set<CachedBlock>();

  constructor(pool: BlockPool) {
    this.#pool = pool;
  }

  /** Blocks that hold tokens and that nobody uses. */
  get numUnused(): number {
    return this.#unused.size;
  }

  /** Blocks that `allocate` can give. */
  get numAvailable(): number {
    return this.#pool.numFree + this.#unused.size;
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

  /** Blocks of `allocate` that holding the hit would take away. */
  numUnusedIn({ last, copy }: CacheHit): number {
    const blocks = copy ? [copy.source, ...pathTo(last)] : pathTo(last);
    return blocks.filter((block) => this.#unused.has(block)).length;
  }

  /**
   * Takes `count` blocks, each with one reference, or none at all; unused ones lose what they held.
   * @returns undefined when fewer are free or unused
   */
  allocate(count: number): number[] | undefined {
    if (count > this.numAvailable) return undefined;
    while (this.#pool.numFree < count) {
      const [oldest] = this.#unused;
      this.#remove(oldest);
    }
    return this.#pool.allocate(count);
  }

  /** Adds a reference to a block, whose parent the caller must hold at least as long. */
  hold(block: CachedBlock) {
    this.#pool.share([block.block]);
    this.#unused.delete(block);
  }

  /** Adds a reference to a block and its ancestors. @returns their ids, first to last */
  holdPath(last: CachedBlock | undefined): number[] {
    const path = pathTo(last).reverse();
    for (const block of path) this.hold(block);
    return path.map(({ block }) => block);
  }

  /** Drops a reference that `hold` added. */
  release(block: CachedBlock) {
    this.#pool.free([block.block]);
    if (this.#pool.references(block.block) > 1) return;
    if (typeof block.space === "symbol") return this.#remove(block);
    this.#unused.add(block);
    if (block.tokens.length < BLOCK_SIZE) this.#dropCovered(block);
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
      const block = last && last.tokens.length < BLOCK_SIZE
        ? last
        : this.#add(space, last, tokens.tokenId(recorded), table[index]);
      const until = Math.min(end, (index + 1) * BLOCK_SIZE);
      while (recorded < until) block.tokens.push(tokens.tokenId(recorded++));
      last = block.tokens.length < BLOCK_SIZE ? block : this.#fold(block);
      table[index] = last.block;
    }
    return last;
  }

  /**
   * Checks that free blocks, held ones and the tree's are all blocks, and the order of the unused ones.
   * @param held block ids of all holders, a list each
   * @throws {Error} naming what is wrong
   */
  checkIntegrity(held: readonly (readonly number[])[]) {
    const blocks = [...this.#spaces.values()].flatMap((children) => [...descendants(children)]);
    this.#pool.checkIntegrity([...held, blocks.map(({ block }) => block)]);
    const order = new Map([...this.#unused].map((block, index) => [block, index]));
    for (const block of blocks) {
      const { parent, tokens } = block, at = order.get(block);
      if ((this.#pool.references(block.block) === 1) !== (at !== undefined)) {
        throw new Error(
          `Prefix cache is corrupt: block ${block.block} is in use and up for reuse, or neither`,
        );
      }
      if (tokens.length === 0 || parent && parent.tokens.length < BLOCK_SIZE) {
        throw new Error(
          `Prefix cache is corrupt: block ${block.block} is empty or follows one that is not full`,
        );
      }
      const parentAt = parent && order.get(parent);
      if (parentAt !== undefined && !(at !== undefined && at < parentAt)) {
        throw new Error(`Prefix cache is corrupt: block ${block.block} would outlive its parent`);
      }
    }
    if (order.size > blocks.length) throw new Error("Prefix cache is corrupt: it lost a block");
  }

  #add(
    space: CacheSpace,
    parent: CachedBlock | undefined,
    firstToken: number,
    block: number,
  ): CachedBlock {
    const index = parent ? parent.index + 1 : 0;
    const added: CachedBlock = { block, index, parent, space, tokens: [], children: new Map() };
    const children = parent?.children ?? this.#spaces.get(space) ?? new Map();
    if (!parent) this.#spaces.set(space, children);
    const siblings = children.get(firstToken) ?? new Set();
    children.set(firstToken, siblings.add(added));
    this.#pool.share([block]);
    return added;
  }

  /** A block that has just become full: itself, or an equal one in its place. */
  #fold(full: CachedBlock): CachedBlock {
    const twin = this.#siblings(full).find((other) =>
      other !== full && other.tokens.length === BLOCK_SIZE && startsWith(other, full)
    );
    // Somebody may be about to copy from the block; then both stay.
    if (!twin || this.#pool.references(full.block) > 2) {
      this.#dropCovered(full);
      return full;
    }
    this.hold(twin);
    this.#remove(full);
    this.#pool.free([full.block]);
    return twin;
  }

  /** Of two siblings of which one begins with the tokens of the other, only the longer is of use. */
  #dropCovered(block: CachedBlock) {
    for (const other of this.#siblings(block)) {
      if (other === block) continue;
      if (this.#unused.has(block) && startsWith(other, block)) return this.#remove(block);
      // A full block may have descendants, and covers no full one but its twin.
      const short = other.tokens.length < BLOCK_SIZE;
      if (short && this.#unused.has(other) && startsWith(block, other)) this.#remove(other);
    }
  }

  #siblings({ parent, space, tokens }: CachedBlock): CachedBlock[] {
    return [...(parent?.children ?? this.#spaces.get(space)!).get(tokens[0])!];
  }

  /** Takes a block that has no descendants out of the tree. */
  #remove(block: CachedBlock) {
    const { parent, space, tokens } = block;
    const children = parent?.children ?? this.#spaces.get(space)!;
    const siblings = children.get(tokens[0])!;
    siblings.delete(block);
    if (siblings.size === 0) children.delete(tokens[0]);
    if (!parent && children.size === 0) this.#spaces.delete(space);
    this.#unused.delete(block);
    this.#pool.free([block.block]);
  }
}

/** The block itself, then its ancestors. */
function pathTo(last: CachedBlock | undefined): CachedBlock[] {
  const path: CachedBlock[] = [];
  for (let block = last; block; block = block.parent) path.push(block);
  return path;
}

function* descendants(children: ChildBlocks): Generator<CachedBlock> {
  for (const siblings of children.values()) {
    for (const block of siblings) {
      yield block;
      yield* descendants(block.children);
    }
  }
}

/** Of the blocks that may follow at `start`, the one that holds most of the tokens up to `limit`. */
function longestMatch(children: ChildBlocks, tokens: TokenList, start: number, limit: number) {
  let best: CachedBlock | undefined, most = 0;
  const candidates = start < limit ? children.get(tokens.tokenId(start)) : undefined;
  for (const block of candidates ?? []) {
    const length = Math.min(block.tokens.length, limit - start);
    let rows = 0;
    while (rows < length && block.tokens[rows] === tokens.tokenId(start + rows)) rows++;
    if (rows > most) [best, most] = [block, rows];
  }
  return { block: best, rows: most };
}

function startsWith(block: CachedBlock, beginning: CachedBlock): boolean {
  return block.tokens.length >= beginning.tokens.length &&
    beginning.tokens.every((id, row) => block.tokens[row] === id);
}
