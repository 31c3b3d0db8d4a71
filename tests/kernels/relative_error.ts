// The yardstick of the kernel tests.

/**
 * Largest |actual - expected| relative to the largest |expected|; Infinity when an element of `actual` is not finite.
 * @throws {RangeError} when the lengths differ or there is nothing to compare
 */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length || expected.length === 0) {
    throw new RangeError(`Cannot compare ${actual.length} elements with ${expected.length}`);
  }
  let most = 0, error = 0;
  for (let i = 0; i < expected.length; i++) {
    if (!Number.isFinite(actual[i])) return Infinity;
    most = Math.max(most, Math.abs(expected[i]));
    error = Math.max(error, Math.abs(actual[i] - expected[i]));
  }
  return error === 0 ? 0 : error / most;
}
