// Spectra of filters, and what the kernels multiply by, against transforms by their definition.
import { ok, throws } from "node:assert/strict";
import { filterSpectrum, packedProduct, rowProduct } from "../../../kernels/filters/filter_spectrum.ts";
import { type ComplexArray, Fourier } from "../../../kernels/filters/fourier.ts";
import { Random, testSeed } from "../random.ts";
import { relativeError } from "../relative_error.ts";

/** x̂[k] = sum over j of x[j] e^(sign 2πi jk / size) */
function byDefinition({ re, im }: ComplexArray, sign: 1 | -1): ComplexArray {
  const size = re.length, sums = { re: new Float64Array(size), im: new Float64Array(size) };
  for (let k = 0; k < size; k++) {
    for (let j = 0; j < size; j++) {
      const angle = sign * 2 * Math.PI * (j * k % size) / size;
      sums.re[k] += re[j] * Math.cos(angle) - im[j] * Math.sin(angle);
      sums.im[k] += re[j] * Math.sin(angle) + im[j] * Math.cos(angle);
    }
  }
  return sums;
}

function both({ re, im }: ComplexArray): number[] {
  return [...re, ...im];
}

Deno.test("Fourier.transform() equals the definition", () => {
  const random = new Random(testSeed());
  for (const size of [1, 2, 4, 16, 64, 512]) {
    const x = { re: Float64Array.from(random.normals(size)), im: Float64Array.from(random.normals(size)) };
    const expected = byDefinition(x, -1);
    new Fourier(size).transform(x);
    ok(relativeError(both(x), both(expected)) < 1e-13 * (1 + Math.log2(size)), `size ${size}`);
  }
  throws(() => new Fourier(12), RangeError);
});

Deno.test("filterSpectrum() is the transform of the padded filter, of any number of taps", () => {
  const random = new Random(testSeed());
  for (const [taps, size] of [[1, 2], [3, 8], [8, 8], [37, 128], [128, 128]]) {
    const filter = random.normals(taps);
    const padded = { re: new Float64Array(size), im: new Float64Array(size) };
    padded.re.set(filter);
    const { re, im } = byDefinition(padded, -1);
    const expected = { re: re.slice(0, size / 2 + 1), im: im.slice(0, size / 2 + 1) };
    ok(relativeError(both(filterSpectrum(filter, size)), both(expected)) < 1e-12, `${taps} of ${size}`);
  }
  throws(() => filterSpectrum([1, 2, 3], 2), RangeError);
});

/** What a filter makes of `x`, wrapped around. */
function cyclic(filter: ArrayLike<number>, x: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: x.length }, (_, t) => {
    let sum = 0;
    for (let lag = 0; lag < filter.length; lag++) sum += filter[lag] * x[(t - lag + x.length) % x.length];
    return sum;
  });
}

Deno.test("packedProduct() multiplies packed real transforms", () => {
  const random = new Random(testSeed());
  for (const size of [4, 16, 64]) {
    const points = size / 2, x = random.normals(size), filter = random.normals(size);
    const product = packedProduct(filterSpectrum(filter, size));
    const z = {
      re: Float64Array.from({ length: points }, (_, j) => x[2 * j]),
      im: Float64Array.from({ length: points }, (_, j) => x[2 * j + 1]),
    };
    const spectrum = byDefinition(z, -1),
      mixed = { re: new Float64Array(points), im: new Float64Array(points) };
    for (let k = 0; k < points; k++) {
      const mirror = (points - k) % points, from = Math.min(k, points - k), sign = 2 * k > points ? -1 : 1;
      const [sr, si, dr, di] = product.subarray(4 * from, 4 * from + 4);
      const sine = Math.sin(Math.PI * k / points), cosine = Math.cos(Math.PI * k / points);
      const a = { re: sr - sign * dr * sine, im: sign * si - di * sine };
      const b = { re: -di * cosine, im: sign * dr * cosine };
      const [zr, zi, mr, mi] = [spectrum.re[k], spectrum.im[k], spectrum.re[mirror], -spectrum.im[mirror]];
      mixed.re[k] = a.re * zr - a.im * zi + b.re * mr - b.im * mi;
      mixed.im[k] = a.re * zi + a.im * zr + b.re * mi + b.im * mr;
    }
    const y = byDefinition(mixed, 1);
    const actual = Float64Array.from({ length: size }, (_, t) => (t % 2 ? y.im : y.re)[t >> 1]);
    ok(relativeError(actual, cyclic(filter, x)) < 1e-6, `size ${size}`);
  }
});

Deno.test("rowProduct() has the spectrum in the order of three passes, mirrored beyond its middle", () => {
  const random = new Random(testSeed());
  const size = 64, numRows = 8, filter = random.normals(40);
  const padded = { re: new Float64Array(size), im: new Float64Array(size) };
  padded.re.set(filter);
  const { re, im } = byDefinition(padded, -1);
  const expected: number[] = [];
  for (let k1 = 0; k1 <= numRows / 2; k1++) {
    for (let k2 = 0; k2 < size / numRows; k2++) {
      expected.push(re[k1 + numRows * k2] / 10, im[k1 + numRows * k2] / 10);
    }
  }
  ok(relativeError(rowProduct(filterSpectrum(filter, size), numRows, 0.1), expected) < 1e-6);
});
