// Discrete Fourier transforms in float64, for what is computed once on the host. Sizes are powers of two.

/** Numbers re[i] + i im[i]. */
export interface ComplexArray {
  readonly re: Float64Array;
  readonly im: Float64Array;
}

/** The transform of one size: x̂[k] = sum over j of x[j] e^(-2πi jk / size). */
export class Fourier {
  readonly size: number;
  /** e^(-2πi m / size), m < size / 2 */
  readonly #roots: ComplexArray;
  readonly #reversed: Uint32Array;

  /** @throws {RangeError} when the size is no power of two */
  constructor(size: number) {
    if (!Number.isInteger(Math.log2(size))) {
      throw new RangeError(`Cannot transform: size must be a power of two, received ${size}`);
    }
    this.size = size;
    this.#roots = rootsOfUnity(size, Math.max(1, size / 2));
    this.#reversed = reversedBits(size);
  }

  /** In place: decimation in time, radix 2. */
  transform({ re, im }: ComplexArray): void {
    this.#permute(re, im);
    const { size } = this, roots = this.#roots;
    for (let half = 1; half < size; half *= 2) {
      const stride = size / (2 * half);
      for (let start = 0; start < size; start += 2 * half) {
        for (let k = 0, a = start, b = start + half; k < half; k++, a++, b++) {
          const wr = roots.re[k * stride], wi = roots.im[k * stride];
          const br = re[b] * wr - im[b] * wi, bi = re[b] * wi + im[b] * wr;
          re[b] = re[a] - br;
          im[b] = im[a] - bi;
          re[a] += br;
          im[a] += bi;
        }
      }
    }
  }

  #permute(re: Float64Array, im: Float64Array): void {
    this.#reversed.forEach((to, from) => {
      if (to <= from) return;
      [re[from], re[to]] = [re[to], re[from]];
      [im[from], im[to]] = [im[to], im[from]];
    });
  }
}

/** e^(-2πi m / order) for m < count, every angle reduced before its sine is taken. */
function rootsOfUnity(order: number, count: number): ComplexArray {
  const re = new Float64Array(count), im = new Float64Array(count);
  for (let m = 0; m < count; m++) {
    const angle = 2 * Math.PI * ((m % order) / order);
    re[m] = Math.cos(angle);
    im[m] = -Math.sin(angle);
  }
  return { re, im };
}

function reversedBits(size: number): Uint32Array {
  const reversed = new Uint32Array(size);
  for (let i = 1; i < size; i++) reversed[i] = (reversed[i >> 1] >> 1) | (i & 1 ? size >> 1 : 0);
  return reversed;
}
