// Arithmetic of complex numbers side by side, in float64: what state-space models have for parameters and states.
import type { ComplexArray } from "../kernels/filters/fourier.ts";

export function complexZeros(length: number): ComplexArray {
  return { re: new Float64Array(length), im: new Float64Array(length) };
}

/** From [..., 2], as checkpoints store complex tensors: real and imaginary part in turn. */
export function fromPairs(pairs: ArrayLike<number>): ComplexArray {
  const numbers = complexZeros(pairs.length / 2);
  for (let i = 0; i < numbers.re.length; i++) {
    numbers.re[i] = pairs[2 * i];
    numbers.im[i] = pairs[2 * i + 1];
  }
  return numbers;
}

/** To [..., 2]. */
export function toPairs({ re, im }: ComplexArray): Float64Array {
  return new Float64Array(2 * re.length).map((_, i) => (i % 2 === 0 ? re : im)[i >> 1]);
}

/** z^n by logarithm and angle, so that the error does not grow with n as in repeated products. */
export function complexPower(z: ComplexArray, n: number): ComplexArray {
  const power = complexZeros(z.re.length);
  for (let i = 0; i < z.re.length; i++) {
    const size = Math.hypot(z.re[i], z.im[i]) ** n, angle = n * Math.atan2(z.im[i], z.re[i]);
    power.re[i] = size * Math.cos(angle);
    power.im[i] = size * Math.sin(angle);
  }
  return power;
}
