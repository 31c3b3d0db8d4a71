// The long-convolution layer against the golden values of its specification (long_conv_flash_butterfly.md, section 12).
import { deepStrictEqual } from "node:assert/strict";
import { smooth, squash } from "../../../kernels/filters/squash.ts";
import { linearReference } from "../../../kernels/linear/reference.ts";
import { longConvolutionReference } from "../../../kernels/long_convolution/reference.ts";
import { goldenFill, goldenLinear, wholeSequence } from "./golden_fill.ts";
import { near } from "./near.ts";

const WIDTH = 4, LENGTH = 8, FILTERS = 2;

/** Exact GELU of one number, by the reference of linear. */
function gelu(x: number): number {
  return linearReference(Float64Array.of(x), Float32Array.of(1), 1, { activation: "gelu_erf" })[0];
}

Deno.test("squash() and the reference give the golden long-convolution layer", () => {
  const taps = squash(goldenFill(FILTERS * WIDTH * LENGTH, 0), 0.1), skips = goldenFill(FILTERS * WIDTH, 1);
  near(taps.subarray(0, LENGTH), [
    0.1701511529,
    0,
    0,
    -0.1567264062,
    -0.2945073736,
    -0.3788936188,
    -0.3984638592,
    -0.3505693547,
  ]);
  const input = goldenFill(LENGTH * WIDTH, 20, 1);
  const convolved = Array.from({ length: FILTERS }, (_, f) => {
    const filter = taps.slice(f * WIDTH * LENGTH, (f + 1) * WIDTH * LENGTH);
    for (let channel = 0; channel < WIDTH; channel++) filter[channel * LENGTH] += skips[f * WIDTH + channel];
    return longConvolutionReference({ input, filter }, wholeSequence(LENGTH));
  });
  const mixed = Float64Array.from({ length: LENGTH * FILTERS * WIDTH }, (_, at) => {
    const row = Math.floor(at / (FILTERS * WIDTH)), column = at % (FILTERS * WIDTH);
    return gelu(convolved[Math.floor(column / WIDTH)][row * WIDTH + column % WIDTH]);
  });
  const z = goldenLinear(mixed, goldenFill(2 * WIDTH * FILTERS * WIDTH, 2), goldenFill(2 * WIDTH, 3));
  const y = (row: number) =>
    Float64Array.from({ length: WIDTH }, (_, c) => {
      const [value, gate] = [z[row * 2 * WIDTH + c], z[row * 2 * WIDTH + WIDTH + c]];
      return value / (1 + Math.exp(-gate));
    });
  near(y(0), [-0.1109394923, 0.1915673004, -0.2333251907, 0.0215626427]);
  near(y(7), [-0.0387204219, 0.0525819685, -0.1579923975, -0.1007845455]);
});

Deno.test("squash() keeps signs, and leaves taps alone where the threshold is zero", () => {
  near(squash([-0.5, 0.05, 0.1, 0.3], 0.1), [-0.4, 0, 0, 0.2]);
  deepStrictEqual(squash([-0.5, 0.05], 0), Float64Array.of(-0.5, 0.05));
});

Deno.test("smooth() counts the zeros beyond both ends", () => {
  near(smooth(new Float64Array(7).fill(3), 5), [9 / 5, 12 / 5, 3, 3, 3, 12 / 5, 9 / 5], 1e-12);
});
