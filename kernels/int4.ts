// The layout of int4 weights: w[row][k] = scale[row] * multiplier[row][k / GROUP] * q[row][k], q from -8 to 7. A product of
// multiplier and q fits a byte, so an int4 matrix is an int8 one too, exactly, for whatever reads bytes.

/** Columns that share a multiplier; 16 bytes hold their q. The last group of a row is filled up with zeros. */
export const GROUP = 32;

/** The largest |multiplier|: times -8 it fits a byte. */
export const MOST_MULTIPLIER = 15;

/** Groups of a row. */
export function groupsOf(columns: number): number {
  return Math.ceil(columns / GROUP);
}

/**
 * The int8 form of whole rows, before their scales.
 * @param packed [rows][groups * GROUP / 2]: q as two's complement, even columns in the low half of a byte
 * @param multipliers [rows][groups]
 * @returns [rows][columns]
 */
export function unpackInt4(
  packed: Uint8Array,
  multipliers: Int8Array,
  columns: number,
): Int8Array<ArrayBuffer> {
  const groups = groupsOf(columns), rows = multipliers.length / groups;
  const values = new Int8Array(rows * columns);
  for (let row = 0, at = 0; row < rows; row++) {
    for (let k = 0; k < columns; k++, at++) {
      const byte = packed[row * groups * (GROUP / 2) + (k >> 1)];
      const q = (k & 1 ? byte << 24 : byte << 28) >> 28;
      values[at] = multipliers[row * groups + Math.floor(k / GROUP)] * q;
    }
  }
  return values;
}
