// Rounds float weights to int4: each row has a scale, each group of a row's columns a small whole multiple of it. Knows
// no file.
import { GROUP, groupsOf, MOST_MULTIPLIER } from "../kernels/int4.ts";

/** Multiples that are tried below the one that just holds a group's largest weight: a finer step may pay for clipping it. */
const FINER = 2;

/** Rows of int4, as kernels/int4.ts describes them. */
export interface Int4Rows {
  readonly packed: Uint8Array<ArrayBuffer>;
  readonly multipliers: Int8Array<ArrayBuffer>;
  readonly scales: Float32Array<ArrayBuffer>;
}

/**
 * Rounds rows to int4, each group by the multiple that leaves the least squared error.
 * @param values [rows, width]
 * @throws {RangeError} when a weight is not finite
 */
export function quantizeRowsToInt4(values: Float32Array, width: number): Int4Rows {
  const rows = values.length / width, groups = groupsOf(width);
  const packed = new Uint8Array(rows * groups * (GROUP / 2));
  const multipliers = new Int8Array(rows * groups), scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    const start = row * width, end = start + width;
    const scale = scales[row] = rowScale(largestMagnitude(values, start, end));
    for (let g = 0; g < groups; g++) {
      const first = start + g * GROUP, last = Math.min(first + GROUP, end), index = row * groups + g;
      const multiplier = multipliers[index] = bestMultiplier(values, first, last, scale);
      const perStep = 1 / (multiplier * scale), at = index * (GROUP / 2);
      for (let i = 0; first + i < last; i++) {
        packed[at + (i >> 1)] |= (nearest(values[first + i] * perStep) & 15) << (4 * (i & 1));
      }
    }
  }
  return { packed, multipliers, scales };
}

/** The largest weight becomes -8 times the largest multiple. A row of zeros has scale 1. */
function rowScale(largest: number): number {
  if (!Number.isFinite(largest)) throw new RangeError("weights must be finite");
  // Rows so small that the scale would vanish in f32 count as zero.
  return Math.fround(largest / (8 * MOST_MULTIPLIER)) || 1;
}

/** Either sign: -8 has no counterpart, so a group's sign decides which end reaches further. */
function bestMultiplier(values: Float32Array, first: number, last: number, scale: number): number {
  const holding = Math.min(MOST_MULTIPLIER, Math.ceil(largestMagnitude(values, first, last) / (7 * scale)));
  let best = 1, leastError = Infinity;
  for (let multiplier = Math.max(1, holding - FINER); multiplier <= Math.max(1, holding); multiplier++) {
    for (let sign = 1; sign >= -1; sign -= 2) {
      const error = squaredError(values, first, last, sign * multiplier * scale);
      if (error < leastError) [best, leastError] = [sign * multiplier, error];
    }
  }
  return best;
}

function largestMagnitude(values: Float32Array, first: number, last: number): number {
  let largest = 0;
  for (let i = first; i < last; i++) largest = Math.max(largest, Math.abs(values[i]));
  return largest;
}

function squaredError(values: Float32Array, first: number, last: number, step: number): number {
  const perStep = 1 / step;
  let sum = 0;
  for (let i = first; i < last; i++) {
    const steps = values[i] * perStep, error = steps - nearest(steps);
    sum += error * error;
  }
  return sum * step * step;
}

function nearest(steps: number): number {
  return Math.max(-8, Math.min(7, Math.floor(steps + 0.5)));
}
