// In which order an exact causal convolution is computed when its inputs become known one by one, each after the output
// before it: squares of inputs by outputs that cover every pair once, as early as they can. Done by Fourier transforms,
// the squares of a text of L tokens cost O(L log² L) instead of O(L²). Oncescu et al., "Flash Inference: Near Linear Time
// Inference for Long Convolution Sequence Models and Beyond" (2024), section 3.1. Pure; knows no filter and no device.

/** `size` inputs from `firstInput` on are to be added to as many outputs, from `firstOutput` on. */
export interface Tile {
  /** A power of two. */
  readonly size: number;
  readonly firstInput: number;
  /** The input after the last: lags in the tile are 1 to 2 size - 1. */
  readonly firstOutput: number;
}

/**
 * What can be added once input `index` is known and has gone, by lag 0, into output `index`, which is then final. The tile's
 * size is the largest power of two that divides index + 1: half of the tokens have one of size 1, a quarter of size 2.
 * @param index from 0 at the start of the text, or of what is generated after a prompt whose share is in the outputs
 */
export function tileAfter(index: number): Tile {
  const next = index + 1, size = largestPower(next);
  return { size, firstInput: next - size, firstOutput: next };
}

/** The largest power of two that divides a positive integer, above 2^31 too. */
function largestPower(n: number): number {
  let size = 1;
  while (n % (2 * size) === 0) size *= 2;
  return size;
}

/** Outputs of a tile that a text of `length` tokens has. */
export function outputsWithin({ size, firstOutput }: Tile, length: number): number {
  return Math.max(0, Math.min(size, length - firstOutput));
}

/**
 * Points of the cyclic convolution that gives what `numInputs` known inputs add to the `numOutputs` outputs after them: the
 * filter is cut there, and what wraps around falls on the known.
 */
export function fillPoints(numInputs: number, numOutputs: number): number {
  return 2 ** Math.ceil(Math.log2(numInputs + numOutputs));
}

/** Points of the cyclic convolution of a tile, its inputs followed by zeros, with lags 0 to 2 size - 1: outputs are its second half. */
export function tilePoints({ size }: Tile): number {
  return 2 * size;
}
