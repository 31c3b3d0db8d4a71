// H3's two state-space models in float64, from the parameters that checkpoints store to what a step needs: the shift SSM
// as the finite filter that it is, the diagonal one discretised. Fu, Dao et al., "Hungry Hungry Hippos" (2022), section 3;
// Gu et al., "On the Parameterization and Initialization of Diagonal State Space Models" (2022). Knows no checkpoint.
import { type ComplexArray, complexPower, complexZeros, multiplyComplex } from "./complex_array.ts";

/**
 * Taps by lag, [channels, taps], of the shift SSM: taps[i] = sum over n >= i of C[n] B[n - i].
 * @param b trained, [channels, taps]; where it is the first unit vector the taps are `c`
 * @param skip [channels], what the input itself is added with; goes to lag 0
 */
export function shiftTaps(
  b: ArrayLike<number>,
  c: ArrayLike<number>,
  skip: ArrayLike<number>,
): Float64Array {
  const channels = skip.length, numTaps = c.length / channels, taps = new Float64Array(c.length);
  for (let channel = 0; channel < channels; channel++) {
    const at = channel * numTaps;
    for (let lag = 0; lag < numTaps; lag++) {
      for (let n = lag; n < numTaps; n++) taps[at + lag] += c[at + n] * b[at + n - lag];
    }
    taps[at] += skip[channel];
  }
  return taps;
}

/** The diagonal SSM as stored; arrays are [channels, modes] but for `logDt`, [channels]. */
export interface DiagonalParameters {
  readonly logDt: ArrayLike<number>;
  readonly invAReal: ArrayLike<number>;
  readonly aImag: ArrayLike<number>;
  readonly b: ComplexArray;
  readonly c: ComplexArray;
}

/**
 * Each [channels, modes]: s <- a s + b w, then y = 2 Re sum over the modes of c s. A mode stands for a conjugate pair.
 */
export interface DiagonalSsm {
  readonly a: ComplexArray;
  readonly b: ComplexArray;
  readonly c: ComplexArray;
}

/** By the bilinear rule, with dt = exp(logDt) and A = -exp(invAReal) + i aImag: every |a| is below 1. */
export function discretise({ logDt, invAReal, aImag, b, c }: DiagonalParameters): DiagonalSsm {
  const numModes = invAReal.length / logDt.length;
  const a = complexZeros(invAReal.length), input = complexZeros(invAReal.length);
  for (let i = 0; i < a.re.length; i++) {
    const dt = Math.exp(logDt[Math.floor(i / numModes)]);
    const re = -Math.exp(invAReal[i]) * dt / 2, im = aImag[i] * dt / 2;
    // g = 1 / (1 - dt A / 2)
    const square = (1 - re) ** 2 + im ** 2, gRe = (1 - re) / square, gIm = im / square;
    a.re[i] = (1 + re) * gRe - im * gIm;
    a.im[i] = (1 + re) * gIm + im * gRe;
    input.re[i] = dt * gRe;
    input.im[i] = dt * gIm;
  }
  return { a, b: multiplyComplex(input, b), c };
}

/**
 * The same SSM with the input taken as it is: s <- poles s + w, then y = Re sum of residues s; its filter is
 * h[t] = Re sum of residues poles^t. What is left out of the state, b and the factor 2, is in the residues.
 */
export interface ModalSsm {
  readonly poles: ComplexArray;
  readonly residues: ComplexArray;
}

export function modalForm({ a, b, c }: DiagonalSsm): ModalSsm {
  const product = multiplyComplex(b, c);
  return { poles: a, residues: { re: product.re.map((x) => 2 * x), im: product.im.map((x) => 2 * x) } };
}

/** The first `length` taps of a modal SSM, [channels, length]. */
export function modalTaps({ poles, residues }: ModalSsm, channels: number, length: number): Float64Array {
  const numModes = poles.re.length / channels, taps = new Float64Array(channels * length);
  for (let t = 0; t < length; t++) {
    const power = multiplyComplex(residues, complexPower(poles, t));
    power.re.forEach((re, i) => taps[Math.floor(i / numModes) * length + t] += re);
  }
  return taps;
}
