// Float64 reference of LayerNorm (Ba, Kiros, Hinton 2016), biased variance, and of RMSNorm (Zhang, Sennrich 2019).

/** Normalises each row of input [rows, width]; scale and bias [width], without bias about zero. */
export function layerNormReference(
  input: Float64Array,
  scale: Float32Array,
  bias: Float32Array | undefined,
  epsilon: number,
): Float64Array {
  const width = scale.length;
  const output = new Float64Array(input.length);
  for (let start = 0; start < input.length; start += width) {
    const row = input.subarray(start, start + width);
    const mean = bias ? row.reduce((sum, x) => sum + x, 0) / width : 0;
    const variance = row.reduce((sum, x) => sum + (x - mean) ** 2, 0) / width;
    const inverse = 1 / Math.sqrt(variance + epsilon);
    for (let c = 0; c < width; c++) {
      output[start + c] = (row[c] - mean) * inverse * scale[c] + (bias?.[c] ?? 0);
    }
  }
  return output;
}
