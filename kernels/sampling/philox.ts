// Philox4x32-10, a counter-based random number generator: the n-th number of a stream is a function of (seed, n), with
// no state to carry along (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). philox.wgsl is the
// same on the GPU.

const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57] as const;
const WEYL = [0x9e3779b9, 0xbb67ae85] as const;
const ROUNDS = 10;

type Words4 = readonly [number, number, number, number];

/** The block of four random words at `counter` (four words) under `key` (two words). */
export function philox4x32(counter: Words4, key: readonly [number, number]): Words4 {
  let [a, b, c, d] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = mulHigh(MULTIPLIERS[0], a), low0 = Math.imul(MULTIPLIERS[0], a) >>> 0;
    const high1 = mulHigh(MULTIPLIERS[1], c), low1 = Math.imul(MULTIPLIERS[1], c) >>> 0;
    [a, b, c, d] = [(high1 ^ b ^ k0) >>> 0, low1, (high0 ^ d ^ k1) >>> 0, low0];
    k0 = (k0 + WEYL[0]) >>> 0;
    k1 = (k1 + WEYL[1]) >>> 0;
  }
  return [a, b, c, d];
}

/** Word `counter` of the stream that `seed` names. */
export function randomWord(seed: readonly [number, number], counter: number): number {
  return philox4x32([counter, 0, 0, 0], seed)[0];
}

/** The upper 32 bits of the 64-bit product of two words. */
export function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff, aHigh = a >>> 16, bLow = b & 0xffff, bHigh = b >>> 16;
  const middle = aHigh * bLow + Math.floor(aLow * bLow / 0x10000);
  const other = aLow * bHigh + middle % 0x10000;
  return aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(other / 0x10000);
}
