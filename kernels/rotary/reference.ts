// Float64 reference of rotary.

/** Which columns are turned: see RotaryNode. */
export interface RotaryShape {
  readonly width: number;
  readonly numHeads: number;
  readonly headSize: number;
  /** Columns of a head that are turned. */
  readonly turned: number;
}

/**
 * @param input [rows, width]
 * @param turns [positions, turned]: cosine and sine of each pair
 */
export function rotaryReference(
  input: Float64Array,
  turns: Float32Array,
  positions: ArrayLike<number>,
  { width, numHeads, headSize, turned }: RotaryShape,
): Float64Array {
  const output = input.slice(), half = turned / 2;
  for (let row = 0; row < positions.length; row++) {
    for (let head = 0; head < numHeads; head++) {
      for (let j = 0; j < half; j++) {
        const a = row * width + head * headSize + j, b = a + half;
        const at = positions[row] * turned + 2 * j, cos = turns[at], sin = turns[at + 1];
        output[a] = input[a] * cos - input[b] * sin;
        output[b] = input[b] * cos + input[a] * sin;
      }
    }
  }
  return output;
}
