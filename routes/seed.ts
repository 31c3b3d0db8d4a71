// Seeds of any integer size, made fit for the engine.

/** Bits that leave room for `seed + sample` below 2^53, where every integer is still exact. */
const SEED_BITS = 52;

/** The low 52 bits of a seed in two's complement: same seed in, same seed out, and never negative. */
export function engineSeed(seed: number): number {
  return Number(BigInt.asUintN(SEED_BITS, BigInt(seed)));
}
