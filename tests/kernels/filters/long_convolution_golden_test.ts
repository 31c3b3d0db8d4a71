// The long-convolution layer (Fu et al., "Simple Hardware-Efficient Long Convolutions for Sequence Modeling", 2023) against
// golden values that other code gave in float64.
import { linearReference } from "../../../kernels/linear/reference.ts";
import { longConvolutionReference } from "../../../kernels/long_convolution/reference.ts";
import { goldenFill, goldenLinear, wholeSequence } from "./golden_fill.ts";
import { near } from "./near.ts";

const WIDTH = 4, LENGTH = 8, FILTERS = 2;

/** Exact GELU of one number, by the reference of linear. */
function gelu(x: number): number {
  return linearReference(Float64Array.of(x), Float32Array.of(1), 1, { activation: "gelu_erf" })[0];
}

/** As the paper regularises taps: each nearer to zero by `threshold`, those within it exactly zero. */
function squash(taps: Float64Array, threshold: number): Float64Array {
  return taps.map((tap) => Math.sign(tap) * Math.max(Math.abs(tap) - threshold, 0));
}

Deno.test("The reference gives the golden long-convolution layer", () => {
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
