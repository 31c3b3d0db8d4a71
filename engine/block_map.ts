// What each block of the KV cache is good for at one moment, for whoever looks in from outside: plain data, a byte a
// block, so that a map of a large cache is made and sent fast. Knows neither tokens nor who holds what.

/** What a byte of a map stands for. */
export const BLOCK_KINDS = ["empty", "cached", "held", "shared"] as const;

/** empty: nothing of use. cached: tokens for later, held by nobody. held: by one sequence. shared: by several. */
export type BlockKind = typeof BLOCK_KINDS[number];

export interface BlockMap {
  /** By block of the device, indices of `BLOCK_KINDS`. */
  readonly device: Uint8Array;
  /** By slot of host memory: `empty`, or `cached` where a block is parked. */
  readonly host: Uint8Array;
}

export function blockByte(kind: BlockKind): number {
  return BLOCK_KINDS.indexOf(kind);
}
