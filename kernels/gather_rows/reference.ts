// Float64 reference of gatherRows.

/** Rows `rows` of input [any, width], in the order given. */
export function gatherRowsReference(
  input: Float64Array,
  rows: readonly number[],
  width: number,
): Float64Array {
  const output = new Float64Array(rows.length * width);
  rows.forEach((row, i) => output.set(input.subarray(row * width, (row + 1) * width), i * width));
  return output;
}
