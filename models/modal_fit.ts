// Distils a long filter into modes, so that a step needs a state of fixed size instead of all inputs: poles from the
// subspace of the filter's Hankel matrix (Kung 1978; ESPRIT, Roy, Kailath 1989), residues by least squares. Massaroli et
// al., "Laughing Hyena Distillery" (2023), section 3, fit both by descent. Refining them together (Levenberg, Marquardt) was
// tried and left out: of smooth filters little was gained, and of rough ones poles met in pairs whose residues cancel and grow
// without bounds.
import { type ModalFilter, modalTaps } from "../kernels/filters/diagonal_filter.ts";
import { type ComplexArray, Fourier } from "../kernels/filters/fourier.ts";
import { complexPower, complexZeros } from "./complex_array.ts";
import {
  combine,
  dot,
  eigenvalues,
  leastSquares,
  orthonormalBasis,
  symmetricEigen,
} from "./dense_algebra.ts";

/** Modes that stand for filters, [channels, modes]: h[0] is kept by the skip, h[t] is Re sum of residues poles^t for t > 0. */
export interface DistilledFilters extends ModalFilter {
  /** [channels] */
  readonly skip: Float64Array;
  /** [channels]: L2 norm of what the taps are off by, as a share of that of the taps. */
  readonly errors: Float64Array;
}

/**
 * @param taps [channels, length]
 * @param numModes complex modes a channel may have; those that need fewer get modes of zero
 * @param onChannel called after each
 */
export function distilFilters(
  taps: Float64Array,
  channels: number,
  numModes: number,
  onChannel: () => void = () => {},
): DistilledFilters {
  const length = taps.length / channels;
  const poles = complexZeros(channels * numModes), residues = complexZeros(channels * numModes);
  const skip = new Float64Array(channels), errors = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    const filter = taps.subarray(c * length, (c + 1) * length), at = c * numModes;
    const modes = fitModes(filter, numModes);
    poles.re.set(modes.poles.re, at);
    poles.im.set(modes.poles.im, at);
    residues.re.set(modes.residues.re, at);
    residues.im.set(modes.residues.im, at);
    const fitted = modalTaps(modes, length);
    skip[c] = filter[0] - fitted[0];
    fitted[0] = filter[0];
    errors[c] = relativeDistance(fitted, filter);
    onChannel();
  }
  return { poles, residues, skip, errors };
}

function relativeDistance(a: Float64Array, b: Float64Array): number {
  const difference = a.map((value, i) => value - b[i]), size = dot(b, b);
  return size === 0 ? 0 : Math.sqrt(dot(difference, difference) / size);
}

/** Singular values below this share of the largest are rounding. */
const RANK_TOLERANCE = 1e-12;
/** A mode that is less than this after a token is no mode: its residue, which is by its power, would be without bounds. */
const LEAST_POLE = 1e-2;
/** What poles that would grow are pulled back to. */
const MOST_POLE = 0.9999;
/** Poles that are no farther from the real axis are on it, but for rounding. */
const LEAST_IMAGINARY = 1e-7;
/** A mode that is kept in f32 is off by that much. */
const F32_ROUNDING = 2 ** -24;

/** At most `numModes` modes for taps 1 and later. */
function fitModes(filter: Float64Array, numModes: number): ModalFilter {
  const { values, vectors } = hankelSubspace(filter.subarray(1), 2 * numModes);
  const significant = values.findIndex((value) => Math.abs(value) <= RANK_TOLERANCE * Math.abs(values[0]));
  // Pairs of conjugate poles are one mode, and so is each real pole: how many there are is seen once they are known.
  for (let order = significant < 0 ? vectors.length : significant; order > 0; order--) {
    const poles = usablePoles(polesOf(vectors.slice(0, order)));
    if (poles.re.length <= numModes) return { poles, residues: fitResidues(poles, filter) };
  }
  return { poles: complexZeros(0), residues: complexZeros(0) };
}

/** Columns more than wanted, and products with the matrix, that make the wanted ones sharp. */
const OVERSAMPLING = 10, ITERATIONS = 6;

/** The `count` largest eigenvalues and vectors of the symmetric matrix H[i, j] = h[i + j], by subspace iteration. */
function hankelSubspace(h: Float64Array, count: number): { values: Float64Array; vectors: Float64Array[] } {
  const hankel = new HankelMatrix(h), size = hankel.size;
  let basis = orthonormalBasis(
    Array.from({ length: Math.min(size, count + OVERSAMPLING) }, (_, c) => pseudoRandom(size, c)),
  );
  for (let i = 0; i < ITERATIONS; i++) {
    basis = orthonormalBasis(hankel.multiply(basis));
    if (basis.length === 0) return { values: new Float64Array(1), vectors: [] };
  }
  const products = hankel.multiply(basis);
  const small = products.map((product) => Float64Array.from(basis, (direction) => dot(direction, product)));
  const { values, vectors } = symmetricEigen(small);
  return {
    values: values.slice(0, count),
    vectors: vectors.slice(0, count).map((weights) => combine(basis, weights)),
  };
}

/** The same in every run: two filters that are equal have equal fits. */
function pseudoRandom(length: number, seed: number): Float64Array {
  let word = (seed + 1) * 0x9e3779b9 >>> 0;
  return new Float64Array(length).map(() => {
    word ^= word << 13;
    word ^= word >>> 17;
    word = (word ^ word << 5) >>> 0;
    return word / 2 ** 32 - 0.5;
  });
}

/** H[i, j] = h[i + j], square and symmetric, multiplied through Fourier transforms. */
class HankelMatrix {
  readonly size: number;
  readonly #fourier: Fourier;
  readonly #spectrum: ComplexArray;

  constructor(h: Float64Array) {
    this.size = Math.floor((h.length + 1) / 2);
    this.#fourier = new Fourier(2 ** Math.ceil(Math.log2(2 * this.size)));
    this.#spectrum = complexZeros(this.#fourier.size);
    this.#spectrum.re.set(h.subarray(0, 2 * this.size - 1));
    this.#fourier.transform(this.#spectrum);
  }

  /** H times each column; h is real, so two columns go as real and imaginary part of one. */
  multiply(columns: readonly Float64Array[]): Float64Array[] {
    const products: Float64Array[] = [];
    for (let i = 0; i < columns.length; i += 2) {
      const { re, im } = this.#multiply(columns[i], columns[i + 1]);
      products.push(re.slice(0, this.size));
      if (i + 1 < columns.length) products.push(im.slice(0, this.size));
    }
    return products;
  }

  /** The sum over j of h[i + j] x[j] is the cyclic convolution of h with x backwards. */
  #multiply(a: Float64Array, b: Float64Array | undefined): ComplexArray {
    const { size } = this.#fourier, x = complexZeros(size), h = this.#spectrum;
    for (let j = 0; j < this.size; j++) {
      x.re[(size - j) % size] = a[j];
      if (b) x.im[(size - j) % size] = b[j];
    }
    this.#fourier.transform(x);
    for (let k = 0; k < size; k++) {
      const re = x.re[k], im = x.im[k];
      x.re[k] = (re * h.re[k] - im * h.im[k]) / size;
      x.im[k] = (re * h.im[k] + im * h.re[k]) / size;
    }
    this.#fourier.transform({ re: x.im, im: x.re });
    return x;
  }
}

/** Eigenvalues of the matrix that shifts the subspace by a row, whose basis is orthonormal but for its last row u. */
function polesOf(basis: readonly Float64Array[]): ComplexArray {
  const rows = basis[0].length, last = Float64Array.from(basis, (vector) => vector[rows - 1]);
  const rest = Math.max(1e-12, 1 - dot(last, last));
  const shift = basis.map((column) => {
    const shifted = column.subarray(1);
    const product = Float64Array.from(basis, (vector) => dot(vector.subarray(0, rows - 1), shifted));
    // (I - u uᵀ)⁻¹ = I + u uᵀ / (1 - uᵀu)
    const along = dot(last, product) / rest;
    return product.map((value, i) => value + along * last[i]);
  });
  return eigenvalues(shift);
}

/** One of each conjugate pair, none that grows. */
function usablePoles({ re, im }: ComplexArray): ComplexArray {
  const kept: [re: number, im: number][] = [];
  re.forEach((real, i) => {
    const size = Math.hypot(real, im[i]), isReal = Math.abs(im[i]) <= LEAST_IMAGINARY;
    if (size < LEAST_POLE || (im[i] < 0 && !isReal)) return;
    const factor = size >= 1 ? MOST_POLE / size : 1;
    kept.push([real * factor, isReal ? 0 : im[i] * factor]);
  });
  return { re: Float64Array.from(kept, ([x]) => x), im: Float64Array.from(kept, ([, y]) => y) };
}

/**
 * Nearest to taps 1 and later; Re (a + ib) z is a Re z - b Im z, linear in both. Each residue counts as well by what
 * rounding its pole to f32 moves the taps: without that, poles that nearly meet have residues that cancel, and grow
 * without bounds.
 */
function fitResidues(poles: ComplexArray, filter: Float64Array): ComplexArray {
  const count = poles.re.length, numTaps = filter.length - 1;
  const columns = Array.from({ length: 2 * count }, () => new Float64Array(numTaps + 2 * count));
  const rounding = new Float64Array(count);
  for (let t = 1; t <= numTaps; t++) {
    const power = complexPower(poles, t);
    for (let m = 0; m < count; m++) {
      columns[2 * m][t - 1] = power.re[m];
      columns[2 * m + 1][t - 1] = -power.im[m];
      rounding[m] += t ** 2 * (power.re[m] ** 2 + power.im[m] ** 2);
    }
  }
  columns.forEach((column, i) => column[numTaps + i] = F32_ROUNDING * Math.sqrt(rounding[i >> 1]));
  const target = new Float64Array(numTaps + 2 * count);
  target.set(filter.subarray(1));
  const solution = leastSquares(columns, target);
  return {
    re: new Float64Array(count).map((_, m) => solution[2 * m]),
    im: new Float64Array(count).map((_, m) => solution[2 * m + 1]),
  };
}
