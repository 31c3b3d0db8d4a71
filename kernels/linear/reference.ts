// Float64 reference of the linear op and of both forms of GELU (Hendrycks, Gimpel 2016).
import type { Activation } from "../graph.ts";

/** activation(input · weightᵀ + bias) + residual; input [rows, inWidth], weight [outWidth, inWidth]. */
export function linearReference(
  input: Float64Array,
  weight: Float32Array,
  inWidth: number,
  options: { bias?: Float32Array; activation?: Activation; residual?: Float64Array },
): Float64Array {
  const rows = input.length / inWidth, outWidth = weight.length / inWidth;
  const output = new Float64Array(rows * outWidth);
  for (let r = 0; r < rows; r++) {
    for (let n = 0; n < outWidth; n++) {
      const at = r * outWidth + n;
      let sum = options.bias?.[n] ?? 0;
      for (let k = 0; k < inWidth; k++) sum += input[r * inWidth + k] * weight[n * inWidth + k];
      output[at] = activate(sum, options.activation) + (options.residual?.[at] ?? 0);
    }
  }
  return output;
}

function activate(x: number, activation: Activation | undefined): number {
  switch (activation) {
    case undefined:
      return x;
    case "gelu_tanh":
      return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
    case "gelu_erf":
      return 0.5 * x * (1 + erf(x * Math.SQRT1_2));
  }
}

/**
 * The error function to about 1e-15, by the series of positive terms erf(x) = 2/√π · exp(-x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!!
 * (Abramowitz, Stegun 7.1.6), in which nothing cancels. Beyond 6 it is ±1 in float64.
 */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= 2 * x * x / (2 * n + 1);
    sum += term;
  }
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}
