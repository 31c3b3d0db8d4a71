// Comparison with golden values, which have as many digits as were printed.
import { ok } from "node:assert/strict";

/** @throws {AssertionError} when one of `actual` differs by more than `tolerance`, or their number does */
export function near(actual: ArrayLike<number>, expected: readonly number[], tolerance = 1e-9): void {
  ok(actual.length === expected.length, `${actual.length} numbers instead of ${expected.length}`);
  expected.forEach((value, i) => {
    ok(Math.abs(actual[i] - value) <= tolerance, `number ${i} is ${actual[i]} instead of ${value}`);
  });
}
