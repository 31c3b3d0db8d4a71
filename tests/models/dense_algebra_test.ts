import { deepStrictEqual, equal, ok, throws } from "node:assert/strict";
import type { ComplexArray } from "../../kernels/filters/fourier.ts";
import { complexPower } from "../../models/complex_array.ts";
import {
  type Columns,
  combine,
  dot,
  eigenvalues,
  leastSquares,
  orthonormalBasis,
  symmetricEigen,
} from "../../models/dense_algebra.ts";
import { Random, testSeed } from "../kernels/random.ts";

function randomColumns(random: Random, rows: number, count: number): Float64Array[] {
  return Array.from({ length: count }, () => Float64Array.from(random.normals(rows)));
}

function near(name: string, actual: number, expected: number, tolerance: number): void {
  ok(Math.abs(actual - expected) <= tolerance, `${name}: ${actual}, should be ${expected}`);
}

/** Σ λ^k, which is the trace of the k-th power of the matrix. */
function powerSum(values: ComplexArray, k: number): number {
  return complexPower(values, k).re.reduce((sum, x) => sum + x, 0);
}

function multiply(a: Columns, b: Columns): Float64Array[] {
  return b.map((column) => combine(a, column));
}

function trace(matrix: Columns): number {
  return matrix.reduce((sum, column, i) => sum + column[i], 0);
}

Deno.test("eigenvalues() have the traces of a random matrix's powers", () => {
  const random = new Random(testSeed());
  for (const n of [1, 2, 3, 5, 40, 64]) {
    const matrix = randomColumns(random, n, n).map((column) => column.map((x) => x / Math.sqrt(n)));
    const values = eigenvalues(matrix);
    let power: Columns = matrix;
    for (let k = 1; k <= 5; k++, power = multiply(matrix, power)) {
      near(`size ${n}, power ${k}`, powerSum(values, k), trace(power), 1e-11 * n);
    }
    const conjugates = values.im.filter((x) => x > 1e-8).length - values.im.filter((x) => x < -1e-8).length;
    equal(conjugates, 0);
  }
});

Deno.test("eigenvalues() of matrices that resist: cycles, triangles, zeros, one block", () => {
  const cycle = Array.from(
    { length: 6 },
    (_, i) => Float64Array.from({ length: 6 }, (_, j) => j === (i + 1) % 6 ? 1 : 0),
  );
  const roots = eigenvalues(cycle);
  roots.re.forEach((re, i) => near("root of unity", Math.hypot(re, roots.im[i]), 1, 1e-12));
  for (let k = 1; k < 6; k++) near(`roots of unity, power ${k}`, powerSum(roots, k), 0, 1e-11);
  const triangle = [[3, 0, 0], [1, -2, 0], [4, 5, 0.5]].map((column) => Float64Array.from(column));
  deepStrictEqual([...eigenvalues(triangle).re].sort(), [-2, 0.5, 3]);
  deepStrictEqual([...eigenvalues([new Float64Array(2), new Float64Array(2)]).re], [0, 0]);
  const shift = [[0, 0, 0], [1, 0, 0], [0, 1, 0]].map((column) => Float64Array.from(column));
  deepStrictEqual([...eigenvalues(shift).re], [0, 0, 0]);
  throws(() => eigenvalues([Float64Array.of(NaN)]), /must be finite/);
});

Deno.test("symmetricEigen() gives orthonormal vectors that the matrix only stretches, largest first", () => {
  const random = new Random(testSeed()), n = 30, half = randomColumns(random, n, n);
  const matrix = half.map((column, i) => column.map((x, j) => x + half[j][i]));
  const { values, vectors } = symmetricEigen(matrix);
  vectors.forEach((vector, i) => {
    combine(matrix, vector).forEach((x, row) => near(`vector ${i}`, x, values[i] * vector[row], 1e-11));
    vectors.forEach((other, j) => near(`vectors ${i} and ${j}`, dot(vector, other), i === j ? 1 : 0, 1e-12));
    if (i > 0) ok(Math.abs(values[i]) <= Math.abs(values[i - 1]));
  });
});

Deno.test("orthonormalBasis() leaves out columns that depend on those before", () => {
  const [a, b, c] = randomColumns(new Random(testSeed()), 8, 3);
  const basis = orthonormalBasis([a, b, combine([a, b], [2, -3]), c, new Float64Array(8)]);
  equal(basis.length, 3);
  basis.forEach((x, i) => basis.forEach((y, j) => near(`${i}, ${j}`, dot(x, y), i === j ? 1 : 0, 1e-14)));
});

Deno.test("leastSquares() leaves what is orthogonal to all columns, and gives dependent ones nothing", () => {
  const random = new Random(testSeed()), columns = randomColumns(random, 50, 7);
  const target = Float64Array.from(random.normals(50));
  const fitted = combine(columns, leastSquares(columns, target));
  const residual = target.map((x, i) => x - fitted[i]);
  for (const column of columns) near("residual along a column", dot(residual, column), 0, 1e-12);
  const wanted = Float64Array.from(random.normals(7));
  leastSquares(columns, combine(columns, wanted)).forEach((x, i) => near(`share ${i}`, x, wanted[i], 1e-12));
  const [first, second] = columns, twice = first.map((x) => 2 * x);
  const shares = leastSquares([first, twice, second], combine([first, second], [3, 4]));
  near("first", shares[0], 3, 1e-12);
  equal(shares[1], 0);
  near("second", shares[2], 4, 1e-12);
});
