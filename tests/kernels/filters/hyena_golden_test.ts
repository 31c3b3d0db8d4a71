// Hyena's filters and operator, and StripedHyena's, against golden values that other code gave in float64,
// through the float64 references.
import { diagonalSsmReference } from "../../../kernels/diagonal_ssm/reference.ts";
import { modalTaps } from "../../../kernels/filters/diagonal_filter.ts";
import { decayDeltas, implicitFilter, positionFeatures } from "../../../kernels/filters/implicit_filter.ts";
import { tapsByLag } from "../../../kernels/filters/shift_filter.ts";
import { longConvolutionReference } from "../../../kernels/long_convolution/reference.ts";
import { shortConvolutionReference } from "../../../kernels/short_convolution/reference.ts";
import { goldenColumns, goldenFill, goldenLinear, wholeSequence } from "./golden_fill.ts";
import { near } from "./near.ts";

const WIDTH = 4, LENGTH = 6, MOST = 8, HIDDEN = 3;

/** Filters [channels][MOST] without their skips. */
function goldenFilters(channels: number, shift: number): Float64Array {
  const sine = (s: number, inputs: number) => ({
    weight: goldenFill(HIDDEN * inputs, s),
    bias: goldenFill(HIDDEN, s + 1),
  });
  return implicitFilter({
    features: positionFeatures(MOST, 2),
    frequencies: new Float64Array(HIDDEN).fill(10),
    sineLayers: [sine(7, 5), sine(9, HIDDEN), sine(11, HIDDEN)],
    lastLayer: { weight: goldenFill(channels * HIDDEN, 13) },
    deltas: decayDeltas(channels),
    shift,
  }, MOST);
}

/** The operator of order `order` on the golden input. */
function goldenOperator(order: number, shift: number): Float64Array {
  const all = (order + 1) * WIDTH, batch = wholeSequence(LENGTH);
  const x = goldenFill(LENGTH * WIDTH, 20, 1);
  const projected = goldenLinear(x, goldenFill(all * WIDTH, 0), goldenFill(all, 1));
  const taps = goldenFill(all * 3, 4);
  const filter = Float64Array.from(taps, (_, at) => taps[at % all * 3 + 2 - Math.floor(at / all)]);
  const short = shortConvolutionReference(
    { input: projected, filter, bias: goldenFill(all, 5) },
    batch,
    new Map(),
  );
  const part = (i: number) => goldenColumns(short, all, i * WIDTH, WIDTH);
  const filters = goldenFilters(WIDTH * (order - 1), shift), skips = goldenFill(WIDTH * (order - 1), 6);
  let v = part(order);
  for (let o = 0; o < order - 1; o++) {
    const taps = filters.slice(o * WIDTH * MOST, (o + 1) * WIDTH * MOST);
    for (let channel = 0; channel < WIDTH; channel++) taps[channel * MOST] += skips[o * WIDTH + channel];
    v = longConvolutionReference({
      input: v,
      filter: taps,
      before: part(order - 1 - o),
      ...(o === order - 2 && { after: part(0) }),
    }, batch);
  }
  return goldenLinear(v, goldenFill(WIDTH * WIDTH, 2), goldenFill(WIDTH, 3));
}

Deno.test("positionFeatures() and implicitFilter() give Hyena's golden filters", () => {
  near(positionFeatures(MOST, 2).subarray(15, 20), [
    0.4285714286,
    0.9999999722,
    -0.7071067812,
    -2.3561944684e-4,
    -0.7071067812,
  ]);
  const filters = goldenFilters(WIDTH, 0);
  near(filters.subarray(0, MOST), [
    -0.0607079486,
    0.2636311786,
    -0.2386520545,
    -0.2982452965,
    -0.1231844379,
    -0.0492969794,
    0.0536232592,
    0.0111804440,
  ]);
  near(Float64Array.from({ length: WIDTH }, (_, channel) => filters[channel * MOST + 3]), [
    -0.2982452965,
    -0.0430689018,
    0.0023011790,
    0.0016433839,
  ]);
});

Deno.test("decayDeltas() spans the decays that Hyena starts from", () => {
  const deltas = decayDeltas(864);
  near([deltas[0], deltas[863]], [-3.07011, -15.35057], 1e-5);
});

Deno.test("The references of Hyena's ops give its golden operator", () => {
  const second = goldenOperator(2, 0), shifted = goldenOperator(2, 0.05), third = goldenOperator(3, 0);
  near(second.subarray(0, 4), [0.1003717941, -0.0770414003, -0.2227854377, -0.3662821695]);
  near(second.subarray(20), [0.0896048313, -0.1170344732, -0.2192709486, -0.3256517678]);
  near(shifted.subarray(20), [0.0861297166, -0.1357842430, -0.2191959782, -0.3068884026]);
  near(third.subarray(0, 4), [0.1179208494, -0.0681633350, -0.2387245158, -0.3780506790]);
  near(third.subarray(20), [0.1187600323, -0.0631580848, -0.2386560303, -0.3830435099]);
});

Deno.test("The references of StripedHyena's ops give its golden mixer and state", () => {
  const all = 3 * WIDTH, modes = 2, batch = wholeSequence(LENGTH);
  const x = goldenFill(LENGTH * WIDTH, 20, 1);
  const projected = goldenLinear(x, goldenFill(all * WIDTH, 0), goldenFill(all, 1));
  const taps = goldenFill(all * 3, 2);
  const filter = Float64Array.from(taps, (_, at) => taps[at % all * 3 + 2 - Math.floor(at / all)]);
  const short = shortConvolutionReference(
    { input: projected, filter, bias: goldenFill(all, 3) },
    batch,
    new Map(),
  );
  // Two heads of [x2 (2) | x1 (2) | v (2)].
  const part = (i: number) =>
    short.filter((_, at) => Math.floor(at % all % (3 * WIDTH / 2) / (WIDTH / 2)) === i);
  const poles = goldenFill(WIDTH * modes * 2, 5), residues = goldenFill(WIDTH * modes * 2, 6);
  const complex = (pairs: Float64Array, channel: number) => {
    const own = pairs.subarray(channel * 4, channel * 4 + 4);
    return { re: own.filter((_, i) => i % 2 === 0), im: own.filter((_, i) => i % 2 === 1) };
  };
  near(modalTaps({ poles: complex(poles, 0), residues: complex(residues, 0) }, 5), [
    -0.4132395662,
    -0.1233729858,
    0.1689071207,
    -0.0838870891,
    0.0046839740,
  ]);
  const states = new Map<number, Float64Array>(), x1 = part(1);
  const mixed = diagonalSsmReference(
    {
      input: part(2).map((v, i) => v * x1[i]),
      poles,
      residues,
      skip: goldenFill(WIDTH, 4),
      gate: part(0),
    },
    WIDTH,
    batch,
    states,
  );
  const y = goldenLinear(mixed, goldenFill(WIDTH * WIDTH, 7), goldenFill(WIDTH, 8));
  near(y.subarray(0, 4), [-0.2204551722, -0.4148610549, -0.3834830028, -0.3844189992]);
  near(y.subarray(20), [-0.1563854216, -0.2209551640, -0.4123892291, -0.5835668391]);
  near(states.get(0)!.subarray(0, 4), [0.3193780381, 0.0179516264, 0.3589710713, 0.0097211899]);
});

Deno.test("tapsByLag() turns Hyena's stored short filters round", () => {
  near(tapsByLag([0.1, 0.2, 0.3], 1, "time"), [0.3, 0.2, 0.1], 1e-7);
});
