// Small dense linear algebra in float64, as fitting modes needs it: a matrix is an array of its columns. Golub, Van Loan,
// "Matrix Computations" (4th ed., 2013): 5.2 (modified Gram-Schmidt), 8.5 (Jacobi), 7.4 and 7.5 (Hessenberg form, QR).
import type { ComplexArray } from "../kernels/filters/fourier.ts";
import { complexZeros } from "./complex_array.ts";

export type Columns = readonly Float64Array[];

export function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** a <- a + factor b */
function addMultiple(a: Float64Array, factor: number, b: Float64Array): void {
  for (let i = 0; i < a.length; i++) a[i] += factor * b[i];
}

/** Sum over the columns of weights[i] columns[i]. */
export function combine(columns: Columns, weights: ArrayLike<number>): Float64Array {
  const sum = new Float64Array(columns[0].length);
  columns.forEach((column, i) => addMultiple(sum, weights[i], column));
  return sum;
}

/** Columns that are less than this share of what they were, once others are taken out, are dependent on those. */
const DEPENDENT = 1e-13;

/** An orthonormal basis of what the columns span: as many as are independent. Each is cleared twice of those before it. */
export function orthonormalBasis(columns: Columns): Float64Array[] {
  const basis: Float64Array[] = [];
  for (const column of columns) {
    const rest = column.slice(), length = Math.sqrt(dot(rest, rest));
    for (let pass = 0; pass < 2; pass++) {
      for (const direction of basis) addMultiple(rest, -dot(direction, rest), direction);
    }
    const left = Math.sqrt(dot(rest, rest));
    if (left > DEPENDENT * length) basis.push(rest.map((value) => value / left));
  }
  return basis;
}

/**
 * x that makes the sum of x[i] columns[i] nearest to `target`. Dependent columns get 0.
 */
export function leastSquares(columns: Columns, target: Float64Array): Float64Array {
  const basis: Float64Array[] = [], triangle: number[][] = [], kept: number[] = [];
  columns.forEach((column, index) => {
    const rest = column.slice(), length = Math.sqrt(dot(rest, rest));
    const coefficients = new Array<number>(basis.length).fill(0);
    for (let pass = 0; pass < 2; pass++) {
      basis.forEach((direction, i) => {
        const share = dot(direction, rest);
        coefficients[i] += share;
        addMultiple(rest, -share, direction);
      });
    }
    const left = Math.sqrt(dot(rest, rest));
    if (!(left > DEPENDENT * length)) return;
    basis.push(rest.map((value) => value / left));
    triangle.push([...coefficients, left]);
    kept.push(index);
  });
  const residual = target.slice();
  const shares = basis.map((direction) => {
    const share = dot(direction, residual);
    addMultiple(residual, -share, direction);
    return share;
  });
  const solution = new Float64Array(columns.length);
  for (let i = kept.length - 1; i >= 0; i--) {
    let value = shares[i];
    for (let j = i + 1; j < kept.length; j++) value -= triangle[j][i] * solution[kept[j]];
    solution[kept[i]] = value / triangle[i][i];
  }
  return solution;
}

export interface SymmetricEigen {
  readonly values: Float64Array;
  /** Column i belongs to values[i]. */
  readonly vectors: Float64Array[];
}

/** Of a symmetric matrix, by Jacobi's rotations; largest magnitude first. */
export function symmetricEigen(matrix: Columns): SymmetricEigen {
  const n = matrix.length, a = matrix.map((column) => column.slice());
  const vectors = a.map((_, i) => Float64Array.from({ length: n }, (_, j) => i === j ? 1 : 0));
  const size = Math.sqrt(a.reduce((sum, column) => sum + dot(column, column), 0));
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        off = Math.max(off, Math.abs(a[q][p]));
        if (a[q][p] !== 0) rotate(a, vectors, p, q);
      }
    }
    if (off <= 1e-16 * size) break;
  }
  const order = a.map((_, i) => i).sort((i, j) => Math.abs(a[j][j]) - Math.abs(a[i][i]));
  return { values: Float64Array.from(order, (i) => a[i][i]), vectors: order.map((i) => vectors[i]) };
}

/** Turns rows and columns p and q so that a[p, q] becomes 0. */
function rotate(a: Float64Array[], vectors: Float64Array[], p: number, q: number): void {
  const ratio = (a[q][q] - a[p][p]) / (2 * a[q][p]);
  const tangent = (ratio >= 0 ? 1 : -1) / (Math.abs(ratio) + Math.hypot(ratio, 1));
  const cos = 1 / Math.hypot(tangent, 1), sin = tangent * cos;
  turn(a[p], a[q], cos, sin);
  for (const column of a) {
    const x = column[p], y = column[q];
    column[p] = cos * x - sin * y;
    column[q] = sin * x + cos * y;
  }
  turn(vectors[p], vectors[q], cos, sin);
}

function turn(x: Float64Array, y: Float64Array, cos: number, sin: number): void {
  for (let i = 0; i < x.length; i++) {
    const a = x[i], b = y[i];
    x[i] = cos * a - sin * b;
    y[i] = sin * a + cos * b;
  }
}

/**
 * Eigenvalues of a real matrix: Hessenberg form, then QR steps in complex arithmetic with Wilkinson's shifts.
 * @throws {RangeError} when an element is not finite, or steps do not converge
 */
export function eigenvalues(matrix: Columns): ComplexArray {
  const n = matrix.length, h = new HessenbergForm(matrix), values = complexZeros(n);
  for (let end = n - 1, steps = 0; end >= 0; steps++) {
    const start = h.activeStart(end);
    if (start === end) {
      values.re[end] = h.re[end][end];
      values.im[end] = h.im[end][end];
      end--;
      steps = 0;
      continue;
    }
    if (!(steps < 300)) throw new RangeError("Cannot find eigenvalues: QR steps do not converge");
    h.step(start, end, steps % 10 === 9);
  }
  return values;
}

/** A matrix that is zero below its first subdiagonal, [column][row], with the steps that make it triangular. */
class HessenbergForm {
  readonly re: Float64Array[];
  readonly im: Float64Array[];

  constructor(matrix: Columns) {
    this.re = matrix.map((column) => column.slice());
    this.im = matrix.map((column) => new Float64Array(column.length));
    if (!this.re.every((column) => column.every(Number.isFinite))) {
      throw new RangeError("Cannot find eigenvalues: the matrix must be finite");
    }
    this.#reduce();
  }

  /** Gaussian elimination with pivots below the diagonal, its inverse applied from the right. */
  #reduce(): void {
    const a = this.re, n = a.length;
    for (let m = 1; m < n - 1; m++) {
      let pivot = m;
      for (let i = m + 1; i < n; i++) if (Math.abs(a[m - 1][i]) > Math.abs(a[m - 1][pivot])) pivot = i;
      if (a[m - 1][pivot] === 0) continue;
      for (const column of a) [column[m], column[pivot]] = [column[pivot], column[m]];
      [a[m], a[pivot]] = [a[pivot], a[m]];
      for (let i = m + 1; i < n; i++) {
        const factor = a[m - 1][i] / a[m - 1][m];
        if (factor === 0) continue;
        for (const column of a) column[i] -= factor * column[m];
        addMultiple(a[m], factor, a[i]);
      }
    }
  }

  /** First row of the block that ends in row `end` and does not fall apart further. */
  activeStart(end: number): number {
    for (let k = end; k > 0; k--) {
      const around = this.#abs(k - 1, k - 1) + this.#abs(k, k);
      if (this.#abs(k - 1, k) <= 1e-16 * around || this.#abs(k - 1, k) < 1e-300) return k;
    }
    return 0;
  }

  /** One QR step of rows and columns start to end. */
  step(start: number, end: number, exceptional: boolean): void {
    const { re, im } = this, shift = exceptional ? this.#otherShift(end) : this.#wilkinson(end);
    for (let k = start; k <= end; k++) {
      re[k][k] -= shift.re;
      im[k][k] -= shift.im;
    }
    const rotations: { cos: number; re: number; im: number }[] = [];
    for (let k = start; k < end; k++) {
      const rotation = this.#rotationOf(k);
      rotations.push(rotation);
      for (let column = k; column <= end; column++) this.#turnRows(column, k, rotation);
    }
    rotations.forEach((rotation, i) => this.#turnColumns(start, start + i, rotation));
    for (let k = start; k <= end; k++) {
      re[k][k] += shift.re;
      im[k][k] += shift.im;
    }
  }

  /** [cos, s; -conj(s), cos] that makes row k + 1 of column k zero. */
  #rotationOf(k: number): { cos: number; re: number; im: number } {
    const { re, im } = this, above = this.#abs(k, k), below = this.#abs(k, k + 1);
    const length = Math.hypot(above, below);
    if (above === 0) return { cos: 0, re: 1, im: 0 };
    // s = (x / |x|) conj(y) / length
    const xr = re[k][k] / above, xi = im[k][k] / above, yr = re[k][k + 1], yi = im[k][k + 1];
    return { cos: above / length, re: (xr * yr + xi * yi) / length, im: (xi * yr - xr * yi) / length };
  }

  #turnRows(
    column: number,
    k: number,
    { cos, re: sr, im: si }: { cos: number; re: number; im: number },
  ): void {
    const re = this.re[column], im = this.im[column];
    const xr = re[k], xi = im[k], yr = re[k + 1], yi = im[k + 1];
    re[k] = cos * xr + sr * yr - si * yi;
    im[k] = cos * xi + sr * yi + si * yr;
    re[k + 1] = cos * yr - sr * xr - si * xi;
    im[k + 1] = cos * yi - sr * xi + si * xr;
  }

  /** By the conjugate transpose from the right. */
  #turnColumns(
    start: number,
    k: number,
    { cos, re: sr, im: si }: { cos: number; re: number; im: number },
  ): void {
    const re0 = this.re[k], im0 = this.im[k], re1 = this.re[k + 1], im1 = this.im[k + 1];
    for (let row = start; row <= k + 1; row++) {
      const xr = re0[row], xi = im0[row], yr = re1[row], yi = im1[row];
      re0[row] = cos * xr + sr * yr + si * yi;
      im0[row] = cos * xi + sr * yi - si * yr;
      re1[row] = cos * yr - sr * xr + si * xi;
      im1[row] = cos * yi - sr * xi - si * xr;
    }
  }

  /** That eigenvalue of the last two rows and columns which is nearer to the last element. */
  #wilkinson(end: number): { re: number; im: number } {
    const at = (column: number, row: number) => ({ re: this.re[column][row], im: this.im[column][row] });
    const a = at(end - 1, end - 1), b = at(end, end - 1), c = at(end - 1, end), d = at(end, end);
    const hr = (a.re - d.re) / 2, hi = (a.im - d.im) / 2;
    // root = sqrt(h² + b c), of the sign that makes h + root the larger
    const root = complexRoot(
      hr * hr - hi * hi + b.re * c.re - b.im * c.im,
      2 * hr * hi + b.re * c.im + b.im * c.re,
    );
    const sign = hr * root.re + hi * root.im < 0 ? -1 : 1;
    const sr = hr + sign * root.re, si = hi + sign * root.im, square = sr * sr + si * si;
    if (square === 0) return d;
    const pr = b.re * c.re - b.im * c.im, pi = b.re * c.im + b.im * c.re;
    return { re: d.re - (pr * sr + pi * si) / square, im: d.im - (pi * sr - pr * si) / square };
  }

  /** Breaks a cycle. */
  #otherShift(end: number): { re: number; im: number } {
    return { re: this.re[end][end] + this.#abs(end - 1, end), im: this.im[end][end] };
  }

  #abs(column: number, row: number): number {
    return Math.hypot(this.re[column][row], this.im[column][row]);
  }
}

function complexRoot(re: number, im: number): { re: number; im: number } {
  const size = Math.hypot(re, im), real = Math.sqrt((size + Math.abs(re)) / 2);
  if (real === 0) return { re: 0, im: 0 };
  const other = im / (2 * real);
  return re >= 0 ? { re: real, im: other } : { re: Math.abs(other), im: im < 0 ? -real : real };
}
