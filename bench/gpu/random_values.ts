// Random numbers for benchmarks, by the hundred million: a million drawn, and those again and again.

/** A prime, so that no two rows or channels of a usual width are alike. */
const PERIOD = 1_000_003;

/** Between -1 and 1. */
export function uniform(): number {
  return 2 * Math.random() - 1;
}

/** Numbers between -size and size, the same after every 1,000,003. */
export function uniforms(length: number, size = 1): Float32Array<ArrayBuffer> {
  const values = new Float32Array(length), drawn = Math.min(length, PERIOD);
  for (let i = 0; i < drawn; i++) values[i] = size * uniform();
  for (let known = drawn; known < length; known *= 2) {
    values.copyWithin(known, 0, Math.min(known, length - known));
  }
  return values;
}
