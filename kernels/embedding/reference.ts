// Float64 reference of the embedding op.

/** table[tokenIds[r]] + positionTable[positions[r]], tables [entries, width] row-major; result [rows, width]. */
export function embeddingReference(
  tokenIds: Uint32Array,
  positions: Uint32Array,
  table: Float32Array,
  positionTable: Float32Array | undefined,
  width: number,
): Float64Array {
  const output = new Float64Array(tokenIds.length * width);
  for (let row = 0; row < tokenIds.length; row++) {
    for (let c = 0; c < width; c++) {
      const position = positionTable ? positionTable[positions[row] * width + c] : 0;
      output[row * width + c] = table[tokenIds[row] * width + c] + position;
    }
  }
  return output;
}
