// Float64 reference of gated: x times the SiLU of its gate (Elfwing, Uchibe, Doya 2017; as a gate: Shazeer, "GLU variants
// improve Transformer", 2020).

/** Both of equal length. */
export function gatedReference(input: Float64Array, gate: Float64Array): Float64Array {
  return input.map((x, i) => x * gate[i] / (1 + Math.exp(-gate[i])));
}
