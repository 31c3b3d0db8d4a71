// What is summed online before a step's rows, as words of the control buffer (control.ts).
import type { ControlLayout } from "../control.ts";
import { BLOCK_SIZE } from "../step.ts";
import { type OnlineSum, positionsOf } from "./online_sums.ts";

/** Words per block of outputs that is summed directly, and per sum that is made by transforms. */
export const ONLINE_TILE_WORDS = 4, TRANSFORM_WORDS = 8;

/** A record for each block of outputs. Returns how many there are. */
export function packSums(words: Uint32Array, at: number, sums: readonly OnlineSum[]): number {
  let count = 0;
  for (const { sequence, firstInput, endInput, firstOutput, endOutput, adds } of sums) {
    for (let output = firstOutput; output < endOutput; output += BLOCK_SIZE) {
      const record = [firstInput, endInput, output, 2 * sequence + (adds ? 1 : 0)];
      words.set(record, at + count++ * ONLINE_TILE_WORDS);
    }
  }
  return count;
}

/** A record for each sum that is made by transforms, and where it begins among all of them. Returns the positions of the longest. */
export function packTransforms(
  words: Uint32Array,
  layout: Pick<ControlLayout, "transforms" | "transformStarts">,
  sums: readonly OnlineSum[],
): number {
  let start = 0, longest = 0;
  sums.forEach((sum, i) => {
    const { sequence, firstInput, endInput, firstOutput, endOutput, adds } = sum;
    const record = [firstInput, endInput, firstOutput, endOutput, 2 * sequence + (adds ? 1 : 0)];
    words.set(record, layout.transforms + i * TRANSFORM_WORDS);
    words[layout.transformStarts + i] = start;
    start += positionsOf(sum);
    longest = Math.max(longest, positionsOf(sum));
  });
  if (sums.length > 0) words[layout.transformStarts + sums.length] = start;
  return longest;
}
