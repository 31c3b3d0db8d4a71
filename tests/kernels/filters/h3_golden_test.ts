// H3's mixer against golden values that other code gave in float64, through the float64 references.
import { ok } from "node:assert/strict";
import { diagonalSsmReference } from "../../../kernels/diagonal_ssm/reference.ts";
import { modalTaps } from "../../../kernels/filters/diagonal_filter.ts";
import { shiftFilter, tapsByLag } from "../../../kernels/filters/shift_filter.ts";
import { shortConvolutionReference } from "../../../kernels/short_convolution/reference.ts";
import { Random, testSeed } from "../random.ts";
import { goldenFill, goldenLinear, wholeSequence } from "./golden_fill.ts";
import {
  channels,
  FIRST_OUTPUT,
  LAST_OUTPUT,
  LENGTH,
  logDt,
  MODES,
  pairsOf,
  shiftFilters,
  STATE,
  WIDTH,
} from "./h3_golden.ts";
import { near } from "./near.ts";

const DT = [0.0369467253, 0.0326077914, 0.0304749239, 0.0304379897];

Deno.test("shiftFilter() gives the golden taps of H3's shift SSM", () => {
  near(shiftFilters(new Float64Array(WIDTH))[0].subarray(0, 4), [
    8.1090833623,
    7.1386179461,
    5.2437206988,
    2.7070291013,
  ]);
});

Deno.test("discretise() and modalTaps() give the golden taps of H3's diagonal SSM", () => {
  near(logDt.map(Math.exp), DT);
  near(modalTaps(channels[0], 4), [-0.2176859269, -0.2281053411, 0.0386980543, -0.0318785595]);
  near(modalTaps(channels[3], 4), [-0.1715535721, -0.2286712175, -0.0211080984, 0.0056500152]);
});

Deno.test("The references of H3's ops give its golden mixer and states", () => {
  const linear = (x: Float64Array, s: number) =>
    goldenLinear(x, goldenFill(WIDTH * WIDTH, s), goldenFill(WIDTH, s + 1));
  const z = goldenFill(LENGTH * WIDTH, 20, 1), batch = wholeSequence(LENGTH);
  const [q, k, v] = [linear(z, 0), linear(z, 2), linear(z, 4)];
  const taps = shiftFilters(goldenFill(WIDTH, 10)).flatMap((filter) => Array.from(filter));
  const filter = Float64Array.from(
    { length: WIDTH * STATE },
    (_, at) => taps[at % WIDTH * STATE + Math.floor(at / WIDTH)],
  );
  const w = shortConvolutionReference({ input: k, filter, gate: v }, batch, new Map());
  const states = new Map<number, Float64Array>();
  const skip = goldenFill(WIDTH, 15);
  const mixed = diagonalSsmReference(
    { input: w, poles: pairsOf("poles"), residues: pairsOf("residues"), skip, gate: q },
    WIDTH,
    batch,
    states,
  );
  const y = linear(mixed, 6);
  near(y.subarray(0, WIDTH), FIRST_OUTPUT);
  near(y.subarray(5 * WIDTH), LAST_OUTPUT);
  near(h3State(states.get(0)!, 0, 0), [-0.0730767810, -0.0909184015]);
  near(h3State(states.get(0)!, 3, 31), [0.0287608633, 0.2483269037]);
});

/** H3 keeps the modal form's state times what an input is added with. */
function h3State(state: Float64Array, channel: number, mode: number): number[] {
  const at = (channel * MODES + mode) * 2, { re, im } = channels[channel].inputs;
  return [
    state[at] * re[mode] - state[at + 1] * im[mode],
    state[at] * im[mode] + state[at + 1] * re[mode],
  ];
}

Deno.test("shiftFilter() is the shift SSM's impulse response, step by step", () => {
  const random = new Random(testSeed());
  const b = random.normals(STATE), c = random.normals(STATE), skip = random.normal();
  let state = new Float64Array(STATE);
  const response = Array.from({ length: STATE + 5 }, (_, t) => {
    const x = t === 0 ? 1 : 0;
    state = state.map((_, n) => (n > 0 ? state[n - 1] : 0) + b[n] * x);
    return state.reduce((sum, value, n) => sum + c[n] * value, skip * x);
  });
  near(shiftFilter(b, c, skip), response.slice(0, STATE), 1e-12);
  near(response.slice(STATE), [0, 0, 0, 0, 0]);
});

Deno.test("modalTaps() is the diagonal SSM's impulse response over 512 tokens", () => {
  const x = new Float64Array(512);
  x[0] = 1;
  const { poles, residues } = channels[1];
  const pairs = (part: typeof poles) => Array.from(part.re).flatMap((value, n) => [value, part.im[n]]);
  const y = diagonalSsmReference(
    { input: x, poles: pairs(poles), residues: pairs(residues) },
    1,
    wholeSequence(512),
    new Map(),
  );
  near(modalTaps(channels[1], 512), Array.from(y), 1e-12);
  ok(Math.abs(y[511]) > 1e-9, "the response has died out, so that nothing was compared");
});

Deno.test("tapsByLag() lays filters out by lag, from either order", () => {
  near(tapsByLag([1, 2, 3, 4, 5, 6], 2, "lag"), [1, 4, 2, 5, 3, 6]);
  near(tapsByLag([1, 2, 3, 4, 5, 6], 2, "time"), [3, 6, 2, 5, 1, 4]);
});
