import { deepStrictEqual, ok } from "node:assert/strict";
import { fromPairs } from "../../models/complex_array.ts";
import { decayDeltas, implicitFilter, positionFeatures } from "../../kernels/filters/implicit_filter.ts";
import { stripedRowOrder } from "../../models/striped_hyena.ts";
import { Random, testSeed } from "../kernels/random.ts";
import {
  ExactConvolution,
  HyenaMixer,
  type HyenaWeights,
  type LongConvolution,
  ModalConvolution,
  modalFilters,
  type ModalState,
} from "./hyena_reference.ts";
import { fill, GOLDEN, GOLDEN_TOLERANCE, goldenError, relativeError } from "./long_conv_cases.ts";

const WIDTH = 4, LENGTH = 8, FEATURES = 5, HIDDEN = 3;

function goldenFilter(channels: number, shift: number): Float64Array {
  return implicitFilter({
    features: positionFeatures(LENGTH, (FEATURES - 1) / 2),
    frequencies: [10, 10, 10],
    sineLayers: [
      { weight: fill(HIDDEN * FEATURES, 7), bias: fill(HIDDEN, 8) },
      { weight: fill(HIDDEN * HIDDEN, 9), bias: fill(HIDDEN, 10) },
      { weight: fill(HIDDEN * HIDDEN, 11), bias: fill(HIDDEN, 12) },
    ],
    lastLayer: { weight: fill(channels * HIDDEN, 13) },
    deltas: decayDeltas(channels),
    shift,
  }, LENGTH);
}

function goldenMixer(order: number, shift: number): HyenaMixer {
  const channels = (order - 1) * WIDTH, all = (order + 1) * WIDTH;
  const taps = goldenFilter(channels, shift);
  fill(channels, 6).forEach((skip, c) => taps[c * LENGTH] += skip);
  const filters = Array.from(
    { length: order - 1 },
    (_, o) => new ExactConvolution(taps.slice(o * WIDTH * LENGTH, (o + 1) * WIDTH * LENGTH), WIDTH),
  );
  return new HyenaMixer({
    in: { weight: fill(all * WIDTH, 0), bias: fill(all, 1) },
    short: { weight: fill(all * 3, 4), bias: fill(all, 5) },
    out: { weight: fill(WIDTH * WIDTH, 2), bias: fill(WIDTH, 3) },
  }, filters);
}

function check(name: string, actual: ArrayLike<number>, expected: readonly number[]): void {
  const error = goldenError(actual, expected);
  ok(error < GOLDEN_TOLERANCE, `${name} is off by ${error}`);
}

function row(values: Float64Array, t: number): Float64Array {
  return values.subarray(t * WIDTH, (t + 1) * WIDTH);
}

/** All rows of x, each by a step of its own. */
function stepwise(mixer: HyenaMixer, x: Float64Array, width: number): Float64Array {
  const state = mixer.newState(), y = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += width) y.set(mixer.step(x.subarray(at, at + width), state), at);
  return y;
}

Deno.test("Hyena's reference gives the golden rows of orders 2 and 3, at once and step by step", () => {
  const x = fill(6 * WIDTH, 20, 1), golden = GOLDEN.hyena;
  const cases = [
    ["order 2", goldenMixer(2, 0), golden.order2],
    ["order 2, shift 0.05", goldenMixer(2, 0.05), golden.order2Shifted],
    ["order 3", goldenMixer(3, 0), golden.order3],
  ] as const;
  for (const [name, mixer, expected] of cases) {
    for (const y of [mixer.forward(x), stepwise(mixer, x, WIDTH)]) {
      if ("y0" in expected) check(`${name}, row 0`, row(y, 0), expected.y0);
      check(`${name}, row 5`, row(y, 5), expected.y5);
    }
  }
});

Deno.test("positionFeatures() of one band has its frequency at 1e-4, and one position stands at time 0", () => {
  const features = positionFeatures(4, 1), angle = 1e-4 * Math.PI / 2;
  check("one band", features.subarray(3, 6), [1 / 3, Math.cos(angle), -Math.sin(angle)]);
  check("one position", positionFeatures(1, 1), [0, 1, 0]);
});

/** Random mixers of an order, [width] channels, whose filters have `length` taps. */
function randomWeights(random: Random, order: number, width: number): HyenaWeights {
  const all = (order + 1) * width;
  return {
    in: { weight: random.normals(all * width, 0, 0.5), bias: random.normals(all, 0, 0.5) },
    short: { weight: random.normals(all * 3, 0, 0.5), bias: random.normals(all, 0, 0.5) },
    out: { weight: random.normals(width * width, 0, 0.5), bias: random.normals(width, 0, 0.5) },
  };
}

function randomModal(random: Random, width: number, modes: number): ModalConvolution {
  const poles = fromPairs(
    Array.from({ length: width * modes }, () => {
      const size = 0.5 + 0.499 * random.uniform(), angle = Math.PI * random.uniform();
      return [size * Math.cos(angle), size * Math.sin(angle)];
    }).flat(),
  );
  const residues = fromPairs(random.normals(2 * width * modes, 0, 0.5));
  return new ModalConvolution({ poles, residues }, random.normals(width));
}

const SPLITS = [1, 2, 3, 62, 63, 64, 65, 99];

for (
  const [name, order, convolutions] of [
    ["order 2", 2, (random: Random) => [exact(random)]],
    ["order 3", 3, (random: Random) => [exact(random), exact(random)]],
    ["modal form", 2, (random: Random) => [randomModal(random, 3, 4)]],
  ] as [string, number, (random: Random) => LongConvolution[]][]
) {
  Deno.test(`Hyena's reference: rows at once, then steps, are the whole at every split (${name})`, () => {
    const random = new Random(testSeed()), width = 3, length = 100;
    const mixer = new HyenaMixer(randomWeights(random, order, width), convolutions(random));
    const x = Float64Array.from(random.normals(length * width)), whole = mixer.forward(x);
    for (const split of SPLITS) {
      const state = mixer.newState(), y = new Float64Array(x.length);
      y.set(mixer.advance(x.subarray(0, split * width), state));
      for (let at = split * width; at < x.length; at += width) {
        y.set(mixer.step(x.subarray(at, at + width), state), at);
      }
      const error = relativeError(y, whole);
      ok(error < 1e-12, `split at ${split}: off by ${error}`);
    }
  });
}

function exact(random: Random): ExactConvolution {
  return new ExactConvolution(Float64Array.from(random.normals(3 * 100, 0, 0.3)), 3);
}

Deno.test("Hyena's reference: a token changes no row before it", () => {
  const random = new Random(testSeed()), width = 3;
  const mixer = new HyenaMixer(randomWeights(random, 2, width), [exact(random)]);
  const x = Float64Array.from(random.normals(100 * width)), y = mixer.forward(x);
  const other = mixer.forward(x.map((value, at) => at < 40 * width ? value : value + 1));
  ok(y.subarray(0, 40 * width).every((value, at) => value === other[at]), "rows before the change differ");
  ok(
    relativeError(other.subarray(40 * width), y.subarray(40 * width)) > 1e-3,
    "rows after the change do not",
  );
});

/** Rows as Hyena has them, of rows as StripedHyena stores them. */
function striped(rows: Float64Array, numHeads: number): Float64Array {
  const order = stripedRowOrder(WIDTH, numHeads), size = rows.length / order.length;
  return rows.map((_, at) => rows[order[Math.floor(at / size)] * size + at % size]);
}

Deno.test("StripedHyena's mixer is Hyena in modal form once its rows are in order: the golden rows and state", () => {
  const modal = { poles: fromPairs(fill(WIDTH * 4, 5)), residues: fromPairs(fill(WIDTH * 4, 6)) };
  const convolution = new ModalConvolution(modal, fill(WIDTH, 4)), golden = GOLDEN.striped;
  const mixer = new HyenaMixer({
    in: { weight: striped(fill(12 * WIDTH, 0), 2), bias: striped(fill(12, 1), 2) },
    short: { weight: striped(fill(12 * 3, 2), 2), bias: striped(fill(12, 3), 2) },
    out: { weight: fill(WIDTH * WIDTH, 7), bias: fill(WIDTH, 8) },
  }, [convolution]);
  check("filter", modalFilters(modal, WIDTH, 5).subarray(0, 5), golden.h0);
  const x = fill(6 * WIDTH, 20, 1);
  for (const y of [mixer.forward(x), stepwise(mixer, x, WIDTH)]) {
    check("row 0", row(y, 0), golden.y0);
    check("row 5", row(y, 5), golden.y5);
  }
  const state = mixer.newState();
  mixer.advance(x, state);
  const { modes } = state.convolutions[0] as ModalState;
  check("state", [modes.re[0], modes.im[0], modes.re[1], modes.im[1]], golden.state0.flat());
});

Deno.test("stripedRowOrder() takes each head's three parts apart", () => {
  deepStrictEqual([...stripedRowOrder(4, 2)], [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11]);
});
