// A block of the prefix cache's tree, and what can be said of one without the tree. Knows no memory.
import { BLOCK_SIZE } from "../kernels/step.ts";

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
 * Its first `tokens.length` rows hold K and V of these tokens, which follow those of its ancestors, all full. Rows are
 * only ever added, and only by the sequence that holds the block and is not done with it; others may use a full block
 * as it is, and copy rows of one that is not.
 */
export interface CachedBlock {
  /** Where its rows are: the device's block of this id or, if it is parked, the host's slot. */
  block: number;
  parked: boolean;
  /** Somebody has used it again since it was computed, or is going to. */
  wanted: boolean;
  /** Number of ancestors. */
  readonly index: number;
  readonly parent: CachedBlock | undefined;
  readonly space: CacheSpace;
  readonly tokens: number[];
  readonly children: ChildBlocks;
  /** Of models with recurrent layers, by rows. */
  readonly states: Map<number, StateSnapshot>;
}

/** What recurrent layers keep after the first rows of a block, and all tokens before it: who goes on there needs it. */
export interface StateSnapshot {
  readonly slot: number;
  /** 1 to BLOCK_SIZE, as many as the block has at most. */
  readonly rows: number;
  block: CachedBlock;
}

/** The blocks that follow a block, by their first token. */
export type ChildBlocks = Map<number, Set<CachedBlock>>;

export function isFull({ tokens }: CachedBlock): boolean {
  return tokens.length === BLOCK_SIZE;
}

/** The block itself, then its ancestors. */
export function pathTo(last: CachedBlock | undefined): CachedBlock[] {
  const path: CachedBlock[] = [];
  for (let block = last; block; block = block.parent) path.push(block);
  return path;
}

/** Of the path that ends in `last`, the block with so many ancestors. */
export function blockAt(last: CachedBlock | undefined, index: number): CachedBlock | undefined {
  let block = last;
  while (block && block.index > index) block = block.parent;
  return block?.index === index ? block : undefined;
}

/** All blocks below these. A list, not a recursion: trees are as deep as contexts are long. */
export function descendants(children: ChildBlocks): CachedBlock[] {
  const blocks: CachedBlock[] = [], levels = [children];
  for (let level = levels.pop(); level; level = levels.pop()) {
    for (const siblings of level.values()) {
      for (const block of siblings) {
        blocks.push(block);
        levels.push(block.children);
      }
    }
  }
  return blocks;
}

/** Of the blocks that may follow at `start`, the one that holds most of the tokens up to `limit`. */
export function longestMatch(children: ChildBlocks, tokens: TokenList, start: number, limit: number) {
  let best: CachedBlock | undefined, most = 0;
  for (const { block, rows } of matches(children, tokens, start, limit)) {
    if (rows > most) [best, most] = [block, rows];
  }
  return { block: best, rows: most };
}

/** The blocks that begin with the token at `start`, and how many tokens of each are those up to `limit`. */
export function* matches(children: ChildBlocks, tokens: TokenList, start: number, limit: number) {
  const candidates = start < limit ? children.get(tokens.tokenId(start)) : undefined;
  for (const block of candidates ?? []) {
    const length = Math.min(block.tokens.length, limit - start);
    let rows = 0;
    while (rows < length && block.tokens[rows] === tokens.tokenId(start + rows)) rows++;
    yield { block, rows };
  }
}

export function startsWith(block: CachedBlock, beginning: CachedBlock): boolean {
  return block.tokens.length >= beginning.tokens.length &&
    beginning.tokens.every((id, row) => block.tokens[row] === id);
}
