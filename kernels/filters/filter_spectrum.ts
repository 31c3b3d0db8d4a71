// Spectra of causal filters, in float64: what a convolution through Fourier transforms multiplies by. Computed once when
// a model is loaded. Specification: long_conv_flash_butterfly.md, sections 5 and 7.
import { type ComplexArray, Fourier, rootsOfUnity } from "./fourier.ts";

/** Transforms filters, zero beyond their taps, of one size. */
export class FilterSpectra {
  /** Points of the real transform, twice the outputs that come without wrapping around. */
  readonly size: number;
  readonly #half: Fourier;
  readonly #roots: ComplexArray;

  /** @throws {RangeError} when the size is no power of two, or less than 2 */
  constructor(size: number) {
    this.size = size;
    this.#half = new Fourier(size / 2);
    this.#roots = rootsOfUnity(size, size / 2 + 1);
  }

  /**
   * The spectrum of real `taps` at frequencies 0 to size / 2, by a complex transform of half the size: even taps are its
   * real, odd ones its imaginary part.
   * @throws {RangeError} when there are more taps than points
   */
  of(taps: ArrayLike<number>): ComplexArray {
    const half = this.size / 2;
    if (taps.length > this.size) {
      throw new RangeError(
        `Cannot transform filter: it may have ${this.size} taps at most, received ${taps.length}`,
      );
    }
    const z = { re: new Float64Array(half), im: new Float64Array(half) };
    for (let i = 0; i < taps.length; i++) (i % 2 ? z.im : z.re)[i >> 1] = taps[i];
    this.#half.transform(z);
    const re = new Float64Array(half + 1), im = new Float64Array(half + 1);
    for (let k = 0; k <= half; k++) {
      const a = k % half, b = (half - k) % half;
      const evenRe = (z.re[a] + z.re[b]) / 2, evenIm = (z.im[a] - z.im[b]) / 2;
      const oddRe = (z.im[a] + z.im[b]) / 2, oddIm = (z.re[b] - z.re[a]) / 2;
      const wr = this.#roots.re[k], wi = this.#roots.im[k];
      re[k] = evenRe + wr * oddRe - wi * oddIm;
      im[k] = evenIm + wr * oddIm + wi * oddRe;
    }
    return { re, im };
  }
}

/** The spectrum of one filter at frequencies 0 to size / 2: see `FilterSpectra`. */
export function filterSpectrum(taps: ArrayLike<number>, size: number): ComplexArray {
  return new FilterSpectra(size).of(taps);
}

/**
 * For packed real transforms (even samples the real part of z, odd ones the imaginary part, M = size / 2 points): with
 * a = ẑ[k] and b the conjugate of ẑ[M - k], the product's packed spectrum is
 * (S - D sin(πk/M)) a + i D cos(πk/M) b. Here are S and D, [M / 2 + 1] of [re S, im S, re D, im D], divided by M, which
 * the inverse transform leaves out. S[M - k] is the conjugate of S[k], D[M - k] minus that of D[k].
 */
export function packedProduct({ re, im }: ComplexArray): Float32Array<ArrayBuffer> {
  const points = re.length - 1, product = new Float32Array(4 * (points / 2 + 1));
  for (let k = 0; k <= points / 2; k++) {
    const mirror = points - k, scale = 1 / (2 * points);
    product[4 * k] = (re[k] + re[mirror]) * scale;
    product[4 * k + 1] = (im[k] - im[mirror]) * scale;
    product[4 * k + 2] = (re[k] - re[mirror]) * scale;
    product[4 * k + 3] = (im[k] + im[mirror]) * scale;
  }
  return product;
}

/**
 * For transforms in three passes, of size = numRows * rowPoints: rows k1 = 0 to numRows / 2 of [rowPoints] of [re, im],
 * the spectrum at k1 + numRows * k2, times `scale`. The other rows are their mirror images.
 */
export function rowProduct(
  { re, im }: ComplexArray,
  numRows: number,
  scale: number,
): Float32Array<ArrayBuffer> {
  const size = 2 * (re.length - 1), rowPoints = size / numRows;
  const product = new Float32Array(2 * (numRows / 2 + 1) * rowPoints);
  for (let k1 = 0, at = 0; k1 <= numRows / 2; k1++) {
    for (let k2 = 0; k2 < rowPoints; k2++, at += 2) {
      const k = k1 + numRows * k2, mirrored = 2 * k > size;
      const from = mirrored ? size - k : k;
      product[at] = re[from] * scale;
      product[at + 1] = (mirrored ? -im[from] : im[from]) * scale;
    }
  }
  return product;
}
