// Finds the longest beginning of a sequence's tokens from which it can go on, in a tree of cached blocks. Changes nothing.
import { BLOCK_SIZE } from "../kernels/step.ts";
import {
  type CachedBlock,
  type ChildBlocks,
  longestMatch,
  matches,
  type StateSnapshot,
  type TokenList,
} from "./cached_block.ts";

/** The beginning of a sequence that was found. */
export interface CacheHit {
  /** The last of `numBlocks` blocks that can be used as they are, those that are parked once they are brought back. */
  readonly last: CachedBlock | undefined;
  readonly numBlocks: number;
  /** The next `rows` tokens are the first rows of `source`. */
  readonly copy: { readonly source: CachedBlock; readonly rows: number } | undefined;
  /** With recurrent layers, what these keep after the tokens that were found. */
  readonly state?: StateSnapshot;
  /** Tokens of which the tree knows blocks; with recurrent layers they may be more than can be gone on from. */
  readonly numMatched: number;
}

const NO_HIT: CacheHit = { last: undefined, numBlocks: 0, copy: undefined, numMatched: 0 };

export function numTokensOf({ numBlocks, copy }: CacheHit): number {
  return numBlocks * BLOCK_SIZE + (copy?.rows ?? 0);
}

/** The longest beginning of `tokens`, of at most `limit`. */
export function findBlocks(children: ChildBlocks | undefined, tokens: TokenList, limit: number): CacheHit {
  let hit = NO_HIT;
  while (children) {
    const start = hit.numBlocks * BLOCK_SIZE;
    const { block, rows } = longestMatch(children, tokens, start, limit);
    if (!block) break;
    const numMatched = start + rows;
    if (rows < BLOCK_SIZE) return { ...hit, numMatched, copy: { source: block, rows } };
    hit = { last: block, numBlocks: hit.numBlocks + 1, copy: undefined, numMatched };
    children = block.children;
  }
  return hit;
}

/** The longest beginning after which a state was kept: keys and values can be cut at any row, a state cannot. */
export function findState(children: ChildBlocks | undefined, tokens: TokenList, limit: number): CacheHit {
  let state: StateSnapshot | undefined, numMatched = 0;
  for (let start = 0; children; start += BLOCK_SIZE) {
    let onPath: CachedBlock | undefined, most = 0;
    for (const { block, rows } of matches(children, tokens, start, limit)) {
      for (const one of block.states.values()) {
        if (one.rows <= rows && !(state?.block.index === block.index && state.rows >= one.rows)) state = one;
      }
      if (rows > most) [onPath, most] = [block, rows];
    }
    if (most > 0) numMatched = start + most;
    children = most === BLOCK_SIZE ? onPath!.children : undefined;
  }
  return state ? { ...hitAt(state), numMatched } : { ...NO_HIT, numMatched };
}

function hitAt(state: StateSnapshot): Omit<CacheHit, "numMatched"> {
  const { block, rows } = state, { index, parent } = block;
  if (rows === BLOCK_SIZE) return { last: block, numBlocks: index + 1, copy: undefined, state };
  return { last: parent, numBlocks: index, copy: { source: block, rows }, state };
}
