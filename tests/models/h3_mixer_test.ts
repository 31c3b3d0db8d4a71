import { ok } from "node:assert/strict";
import { complexZeros, fromPairs } from "../../models/complex_array.ts";
import { type H3Parameters, h3Tables } from "../../models/h3.ts";
import { Random, testSeed } from "../kernels/random.ts";
import type { Linear } from "./decoder_reference.ts";
import { H3Mixer } from "./h3_reference.ts";
import { modalFilters, multiplyComplex } from "./hyena_reference.ts";
import { fill, GOLDEN, GOLDEN_TOLERANCE, goldenError, relativeError } from "./long_conv_cases.ts";

const WIDTH = 4, TAPS = 64, MODES = 32;

const GOLDEN_TABLES = h3Tables({
  shiftB: fill(WIDTH * TAPS, 8),
  shiftC: fill(WIDTH * TAPS, 9),
  shiftSkip: fill(WIDTH, 10),
  logDt: fill(WIDTH, 11).map((x) => x - 3),
  invAReal: fill(WIDTH * MODES, 12),
  aImag: new Float64Array(WIDTH * MODES).map((_, i) => Math.PI * (i % MODES)),
  b: fromPairs(fill(WIDTH * MODES * 2, 13)),
  c: fromPairs(fill(WIDTH * MODES * 2, 14)),
  skip: fill(WIDTH, 15),
});

function goldenMixer(): H3Mixer {
  const rows = [0, 2, 4].map((s) => [...fill(WIDTH * WIDTH, s)]).flat();
  const qkv = { weight: rows, bias: [1, 3, 5].map((s) => [...fill(WIDTH, s)]).flat() };
  return new H3Mixer(
    { qkv, out: { weight: fill(WIDTH * WIDTH, 6), bias: fill(WIDTH, 7) } },
    GOLDEN_TABLES,
  );
}

function check(name: string, actual: ArrayLike<number>, expected: readonly number[]): void {
  const error = goldenError(actual, expected);
  ok(error < GOLDEN_TOLERANCE, `${name} is off by ${error}`);
}

Deno.test("h3Tables() gives the golden taps and kernels of every channel", () => {
  const { taps, ssm } = GOLDEN_TABLES, golden = GOLDEN.h3;
  const [skip] = fill(WIDTH, 10), [first, ...others] = golden.taps0;
  check("taps of channel 0", taps.subarray(0, 4), [first + skip, ...others]);
  const kernels = modalFilters(ssm, WIDTH, 4);
  check("kernel of channel 0", kernels.subarray(0, 4), golden.kernel0);
  check("kernel of channel 3", kernels.subarray(12, 16), golden.kernel3);
});

Deno.test("H3's reference gives the golden rows and states, by convolution and step by step", () => {
  const mixer = goldenMixer(), x = fill(6 * WIDTH, 20, 1), golden = GOLDEN.h3;
  const whole = mixer.forward(x), state = mixer.newState();
  const rows = Array.from({ length: 6 }, (_, t) => mixer.step(x.subarray(t * WIDTH, (t + 1) * WIDTH), state));
  for (const [t, expected] of [[0, golden.y0], [5, golden.y5]] as const) {
    check(`row ${t}, whole`, whole.subarray(t * WIDTH, (t + 1) * WIDTH), expected);
    check(`row ${t}, stepwise`, rows[t], expected);
  }
  const chunked = mixer.newState();
  mixer.advance(x, chunked);
  for (const { ssm: { modes } } of [state, chunked]) {
    const { re, im } = multiplyComplex(GOLDEN_TABLES.ssm.inputs, modes);
    check("first mode", [re[0], im[0]], golden.state0_0);
    check("last mode", [re[127], im[127]], golden.state3_31);
  }
});

/** Random parameters as models have them at first. */
function randomParameters(random: Random, width: number): H3Parameters {
  return {
    shiftB: random.normals(width * TAPS),
    shiftC: random.normals(width * TAPS, 0, 0.1),
    shiftSkip: random.normals(width),
    logDt: Float64Array.from({ length: width }, () => Math.log(1e-3) + random.uniform() * Math.log(100)),
    invAReal: random.normals(width * MODES, Math.log(0.5)),
    aImag: random.normals(width * MODES).map((x, i) => x + Math.PI * (i % MODES)),
    b: fromPairs(random.normals(width * MODES * 2)),
    c: fromPairs(random.normals(width * MODES * 2)),
    skip: random.normals(width),
  };
}

function randomMixer(random: Random, width: number): H3Mixer {
  const linear = (outputs: number): Linear => ({
    weight: random.normals(outputs * width, 0, 0.5),
    bias: random.normals(outputs, 0, 0.5),
  });
  return new H3Mixer(
    { qkv: linear(3 * width), out: linear(width) },
    h3Tables(randomParameters(random, width)),
  );
}

Deno.test("H3's reference is what the stored parameters say: both states, one token after the other", () => {
  const random = new Random(testSeed()), parameters = randomParameters(random, 1), length = 200;
  const { shiftB, shiftC, shiftSkip, skip, b, c, logDt, invAReal, aImag } = parameters;
  const one = { weight: [1, 1, 1], bias: [0, 0, 0] },
    mixer = new H3Mixer({ qkv: one, out: { weight: [1], bias: [0] } }, h3Tables(parameters));
  const x = Float64Array.from(random.normals(length)), dt = Math.exp(logDt[0]);
  let shift = new Float64Array(TAPS);
  const state = complexZeros(MODES);
  const wanted = x.map((input) => {
    shift = shift.map((_, n) => (n > 0 ? shift[n - 1] : 0) + shiftB[n] * input);
    const w = (shift.reduce((sum, s, n) => sum + shiftC[n] * s, 0) + shiftSkip[0] * input) * input;
    let y = skip[0] * w;
    for (let n = 0; n < MODES; n++) {
      // (1 - dt A / 2) s' = (1 + dt A / 2) s + dt B w
      const re = -Math.exp(invAReal[n]) * dt / 2, im = aImag[n] * dt / 2, square = (1 - re) ** 2 + im ** 2;
      const rightRe = (1 + re) * state.re[n] - im * state.im[n] + dt * b.re[n] * w;
      const rightIm = (1 + re) * state.im[n] + im * state.re[n] + dt * b.im[n] * w;
      state.re[n] = (rightRe * (1 - re) - rightIm * im) / square;
      state.im[n] = (rightIm * (1 - re) + rightRe * im) / square;
      y += 2 * (c.re[n] * state.re[n] - c.im[n] * state.im[n]);
    }
    return input * y;
  });
  const error = relativeError(mixer.forward(x), wanted);
  ok(error < 1e-12, `off by ${error}`);
});

Deno.test("h3Tables() has decaying modes for any parameters", () => {
  const random = new Random(testSeed()),
    { ssm: { poles } } = h3Tables({
      ...randomParameters(random, 10),
      logDt: random.normals(10, 0, 2),
      invAReal: random.normals(10 * MODES, 0, 2),
      aImag: random.normals(10 * MODES, 0, 100),
    });
  poles.re.forEach((re, i) =>
    ok(Math.hypot(re, poles.im[i]) < 1, `mode ${i}: |${re} + ${poles.im[i]}i| is not below 1`)
  );
});

Deno.test("H3's reference: convolution = recurrence = chunks of every size, with a ragged last one", () => {
  const random = new Random(testSeed()), width = 3, mixer = randomMixer(random, width), length = 100;
  const x = Float64Array.from(random.normals(length * width)), whole = mixer.forward(x);
  for (const chunk of [1, 8, 32, 96]) {
    const state = mixer.newState(), y = new Float64Array(x.length);
    for (let at = 0; at < x.length; at += chunk * width) {
      y.set(mixer.advance(x.subarray(at, at + chunk * width), state), at);
    }
    const error = relativeError(y, whole);
    ok(error < 1e-12, `chunks of ${chunk}: off by ${error}`);
  }
});

Deno.test("H3's reference: a chunk, then steps, is the whole at every split", () => {
  const random = new Random(testSeed()), width = 3, mixer = randomMixer(random, width), length = 100;
  const x = Float64Array.from(random.normals(length * width)), whole = mixer.forward(x);
  for (let split = 1; split < length; split++) {
    const state = mixer.newState(), y = new Float64Array(x.length);
    y.set(mixer.advance(x.subarray(0, split * width), state));
    for (let at = split * width; at < x.length; at += width) {
      y.set(mixer.step(x.subarray(at, at + width), state), at);
    }
    const error = relativeError(y, whole);
    ok(error < 1e-12, `split at ${split}: off by ${error}`);
  }
});

Deno.test("H3's reference: a token changes no row before it, and delay shifts rows where nothing has a bias", () => {
  const random = new Random(testSeed()), width = 3, mixer = randomMixer(random, width), length = 80;
  const x = Float64Array.from(random.normals(length * width)), y = mixer.forward(x);
  const changed = x.map((value, at) => at < 40 * width ? value : value + 1);
  const other = mixer.forward(changed);
  ok(y.subarray(0, 40 * width).every((value, at) => value === other[at]), "rows before the change differ");
  ok(
    relativeError(other.subarray(40 * width), y.subarray(40 * width)) > 1e-3,
    "rows after the change do not",
  );

  const qkv = { weight: random.normals(3 * width * width), bias: new Float64Array(3 * width) };
  const out = { weight: random.normals(width * width), bias: new Float64Array(width) };
  const tables = h3Tables(randomParameters(random, width));
  const invariant = new H3Mixer({ qkv, out }, tables), delay = 17 * width;
  const delayed = new Float64Array(x.length + delay);
  delayed.set(x, delay);
  const error = relativeError(invariant.forward(delayed).subarray(delay), invariant.forward(x));
  ok(error < 1e-12, `delayed rows are off by ${error}`);
});
