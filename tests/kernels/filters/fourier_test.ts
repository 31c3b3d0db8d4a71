// Transforms on the host against their definition.
import { ok, throws } from "node:assert/strict";
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
