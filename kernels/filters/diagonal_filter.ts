// Diagonal state-space models in float64 (S4D: Gu et al., "On the Parameterization and Initialization of Diagonal State
// Space Models", 2022): from the parameters that H3 stores to the modal form that the diagonalSsm op runs, and that form's
// filter.
import type { ComplexArray } from "./fourier.ts";

/** A channel of H3's diagonal SSM as checkpoints have it; arrays by mode. */
export interface DiagonalParameters {
  readonly logDt: number;
  readonly invAReal: ArrayLike<number>;
  readonly aImag: ArrayLike<number>;
  readonly b: ComplexArray;
  readonly c: ComplexArray;
}

/**
 * A channel in modal form: s[n] <- poles[n] s[n] + w, then y = Re sum over n of residues[n] s[n]. Its filter is
 * h[t] = Re sum of residues[n] poles[n]^t.
 */
export interface ModalFilter {
  readonly poles: ComplexArray;
  readonly residues: ComplexArray;
}

/** Discretised with what an input is added to the state with: H3's state is `inputs` times the modal form's. */
export interface DiscreteSsm extends ModalFilter {
  readonly inputs: ComplexArray;
}

/** Bilinear, with dt = exp(logDt) and A = -exp(invAReal) + i aImag; modes stand for conjugate pairs, hence residues 2 C B. */
export function discretise({ logDt, invAReal, aImag, b, c }: DiagonalParameters): DiscreteSsm {
  const dt = Math.exp(logDt), modes = invAReal.length;
  const poles = complexZeros(modes), inputs = complexZeros(modes), residues = complexZeros(modes);
  for (let n = 0; n < modes; n++) {
    const re = -Math.exp(invAReal[n]) * dt / 2, im = aImag[n] * dt / 2;
    const length = (1 - re) ** 2 + im ** 2;
    const g = { re: (1 - re) / length, im: im / length };
    set(poles, n, multiply({ re: 1 + re, im }, g));
    const input = multiply({ re: dt * b.re[n], im: dt * b.im[n] }, g);
    set(inputs, n, input);
    set(residues, n, multiply({ re: 2 * c.re[n], im: 2 * c.im[n] }, input));
  }
  return { poles, inputs, residues };
}

/** The first `count` taps of a modal filter, each power by angle and logarithm of its own. */
export function modalTaps({ poles, residues }: ModalFilter, count: number): Float64Array {
  const taps = new Float64Array(count);
  for (let n = 0; n < poles.re.length; n++) {
    const log = Math.log(Math.hypot(poles.re[n], poles.im[n])), angle = Math.atan2(poles.im[n], poles.re[n]);
    for (let t = 0; t < count; t++) {
      // Of a pole at 0 the zeroth power is 1 and all others are 0.
      const size = t === 0 ? 1 : Math.exp(t * log);
      taps[t] += size * (residues.re[n] * Math.cos(t * angle) - residues.im[n] * Math.sin(t * angle));
    }
  }
  return taps;
}

function complexZeros(length: number): ComplexArray {
  return { re: new Float64Array(length), im: new Float64Array(length) };
}

interface Complex {
  readonly re: number;
  readonly im: number;
}

function multiply(a: Complex, b: Complex): Complex {
  return { re: a.re * b.re - a.im * b.im, im: a.re * b.im + a.im * b.re };
}

function set(array: ComplexArray, at: number, { re, im }: Complex): void {
  array.re[at] = re;
  array.im[at] = im;
}
