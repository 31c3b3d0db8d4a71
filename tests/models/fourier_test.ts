import { ok, throws } from "node:assert/strict";
import type { ComplexArray } from "../../models/complex_array.ts";
import { Fourier } from "../../models/fourier.ts";
import { Random, testSeed } from "../kernels/random.ts";

function direct({ re, im }: ComplexArray, k: number): { re: number; im: number } {
  const sum = { re: 0, im: 0 }, size = re.length;
  for (let j = 0; j < size; j++) {
    const angle = -2 * Math.PI * (j * k % size) / size, cos = Math.cos(angle), sin = Math.sin(angle);
    sum.re += re[j] * cos - im[j] * sin;
    sum.im += re[j] * sin + im[j] * cos;
  }
  return sum;
}

Deno.test("Fourier.transform() is the sum that defines it, and with parts exchanged its inverse", () => {
  const random = new Random(testSeed());
  for (const size of [1, 2, 8, 128]) {
    const x = { re: Float64Array.from(random.normals(size)), im: Float64Array.from(random.normals(size)) };
    const y = { re: x.re.slice(), im: x.im.slice() }, fourier = new Fourier(size);
    fourier.transform(y);
    for (let k = 0; k < size; k++) {
      const { re, im } = direct(x, k), error = Math.hypot(re - y.re[k], im - y.im[k]);
      ok(error < 1e-12, `size ${size}, frequency ${k}: off by ${error}`);
    }
    fourier.transform({ re: y.im, im: y.re });
    x.re.forEach((re, j) => {
      const error = Math.hypot(y.re[j] / size - re, y.im[j] / size - x.im[j]);
      ok(error < 1e-14, `size ${size}, back at ${j}: off by ${error}`);
    });
  }
  throws(() => new Fourier(12), /must be a power of two, received 12/);
});
