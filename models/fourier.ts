// The discrete Fourier transform in float64, for what is computed once on the host. Sizes are powers of two.
import type { ComplexArray } from "./complex_array.ts";

export class Fourier {
  readonly size: number;
  /** e^(-2πi m / size), m < size / 2 */
  readonly #roots: ComplexArray;

  /** @throws {RangeError} when the size is no power of two */
  constructor(size: number) {
    if (!Number.isInteger(Math.log2(size))) {
      throw new RangeError(`Cannot transform: size must be a power of two, received ${size}`);
    }
    this.size = size;
    const angles = Float64Array.from({ length: size / 2 }, (_, m) => -2 * Math.PI * m / size);
    this.#roots = { re: angles.map(Math.cos), im: angles.map(Math.sin) };
  }

  /** In place: x̂[k] = sum over j of x[j] e^(-2πi jk / size). With real and imaginary parts exchanged it is the inverse, times size. */
  transform({ re, im }: ComplexArray): void {
    this.#reorder(re);
    this.#reorder(im);
    const roots = this.#roots;
    for (let half = 1; half < this.size; half *= 2) {
      const stride = this.size / (2 * half);
      for (let start = 0; start < this.size; start += 2 * half) {
        for (let k = 0; k < half; k++) {
          const a = start + k, b = a + half, wr = roots.re[k * stride], wi = roots.im[k * stride];
          const tr = re[b] * wr - im[b] * wi, ti = re[b] * wi + im[b] * wr;
          re[b] = re[a] - tr;
          im[b] = im[a] - ti;
          re[a] += tr;
          im[a] += ti;
        }
      }
    }
  }

  /** Every element goes where its index's bits, read backwards, point. */
  #reorder(values: Float64Array): void {
    for (let i = 0, j = 0; i < this.size; i++) {
      if (i < j) [values[i], values[j]] = [values[j], values[i]];
      let bit = this.size >> 1;
      for (; bit > 0 && j & bit; bit >>= 1) j ^= bit;
      j |= bit;
    }
  }
}
