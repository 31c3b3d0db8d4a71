// The two measures in which the tolerances on logits are stated.

export interface LogitError {
  /** Largest |actual - expected| as a share of the largest |expected|. */
  readonly largest: number;
  /** ‖actual - expected‖ / ‖expected‖. */
  readonly l2: number;
}

/**
 * Compares logits, leaving out tokens that are never drawn, whose logits a backend may mask.
 * Both measures are Infinity when a compared element is not finite.
 */
export function logitError(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  vocabSize: number,
  suppressed: ReadonlySet<number> = new Set(),
): LogitError {
  if (actual.length !== expected.length || actual.length === 0) {
    throw new RangeError(`Cannot compare ${actual.length} logits with ${expected.length}`);
  }
  let most = 0, worst = 0, squares = 0, errors = 0;
  for (let i = 0; i < expected.length; i++) {
    if (suppressed.has(i % vocabSize)) continue;
    const difference = Math.abs(actual[i] - expected[i]);
    if (!Number.isFinite(difference)) return { largest: Infinity, l2: Infinity };
    most = Math.max(most, Math.abs(expected[i]));
    worst = Math.max(worst, difference);
    squares += expected[i] ** 2;
    errors += difference ** 2;
  }
  return { largest: worst / most, l2: Math.sqrt(errors / squares) };
}
