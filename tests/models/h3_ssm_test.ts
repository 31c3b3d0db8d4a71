import { ok } from "node:assert/strict";
import { complexZeros, fromPairs } from "../../models/complex_array.ts";
import type { H3Tables } from "../../models/h3.ts";
import { type DiagonalSsm, discretise, modalForm, modalTaps, shiftTaps } from "../../models/h3_ssm.ts";
import { Random, testSeed } from "../kernels/random.ts";
import type { Linear } from "./decoder_reference.ts";
import { H3Mixer } from "./h3_reference.ts";
import { fill, GOLDEN, GOLDEN_TOLERANCE, goldenError, relativeError } from "./long_conv_cases.ts";

const WIDTH = 4, TAPS = 64, MODES = 32;

function goldenTables(skipInTaps: boolean): H3Tables {
  const skip = skipInTaps ? fill(WIDTH, 10) : new Float64Array(WIDTH);
  return {
    taps: shiftTaps(fill(WIDTH * TAPS, 8), fill(WIDTH * TAPS, 9), skip),
    ssm: goldenSsm(),
    skip: fill(WIDTH, 15),
  };
}

function goldenSsm(): DiagonalSsm {
  return discretise({
    logDt: fill(WIDTH, 11).map((x) => x - 3),
    invAReal: fill(WIDTH * MODES, 12),
    aImag: new Float64Array(WIDTH * MODES).map((_, i) => Math.PI * (i % MODES)),
    b: fromPairs(fill(WIDTH * MODES * 2, 13)),
    c: fromPairs(fill(WIDTH * MODES * 2, 14)),
  });
}

function goldenMixer(): H3Mixer {
  const rows = [0, 2, 4].map((s) => [...fill(WIDTH * WIDTH, s)]).flat();
  const qkv = { weight: rows, bias: [1, 3, 5].map((s) => [...fill(WIDTH, s)]).flat() };
  return new H3Mixer(
    { qkv, out: { weight: fill(WIDTH * WIDTH, 6), bias: fill(WIDTH, 7) } },
    goldenTables(true),
  );
}

function check(name: string, actual: ArrayLike<number>, expected: readonly number[]): void {
  const error = goldenError(actual, expected);
  ok(error < GOLDEN_TOLERANCE, `${name} is off by ${error}`);
}

Deno.test("shiftTaps(), discretise() and modalTaps() give the golden taps and kernels", () => {
  const { taps, ssm } = goldenTables(false), golden = GOLDEN.h3;
  check("taps of channel 0", taps.subarray(0, 4), golden.taps0);
  const kernels = modalTaps(modalForm(ssm), WIDTH, 4);
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
  for (const { modes } of [state, chunked]) {
    check("first mode", [modes.re[0], modes.im[0]], golden.state0_0);
    check("last mode", [modes.re[127], modes.im[127]], golden.state3_31);
  }
});

/** Random parameters as models have them at first, [width] channels. */
function randomMixer(random: Random, width: number): H3Mixer {
  const linear = (outputs: number): Linear => ({
    weight: random.normals(outputs * width, 0, 0.5),
    bias: random.normals(outputs, 0, 0.5),
  });
  return new H3Mixer({ qkv: linear(3 * width), out: linear(width) }, {
    taps: shiftTaps(
      random.normals(width * TAPS),
      random.normals(width * TAPS, 0, 0.1),
      random.normals(width),
    ),
    ssm: randomSsm(random, width),
    skip: Float64Array.from(random.normals(width)),
  });
}

function randomSsm(random: Random, width: number): DiagonalSsm {
  return discretise({
    logDt: Float64Array.from({ length: width }, () => Math.log(1e-3) + random.uniform() * Math.log(100)),
    invAReal: random.normals(width * MODES, Math.log(0.5)),
    aImag: random.normals(width * MODES).map((x, i) => x + Math.PI * (i % MODES)),
    b: fromPairs(random.normals(width * MODES * 2)),
    c: fromPairs(random.normals(width * MODES * 2)),
  });
}

Deno.test("shiftTaps() is what the shift SSM's recurrence does, at every length", () => {
  const random = new Random(testSeed());
  for (const length of [1, 63, 64, 65, 200]) {
    const b = random.normals(TAPS), c = random.normals(TAPS), x = random.normals(length);
    const taps = shiftTaps(b, c, [0]);
    let state = new Float64Array(TAPS);
    const byState = Float64Array.from(x, (input) => {
      state = state.map((_, n) => (n > 0 ? state[n - 1] : 0) + b[n] * input);
      return state.reduce((sum, s, n) => sum + c[n] * s, 0);
    });
    const byTaps = Float64Array.from(x, (_, t) => {
      let sum = 0;
      for (let lag = 0; lag <= Math.min(t, TAPS - 1); lag++) sum += taps[lag] * x[t - lag];
      return sum;
    });
    const error = relativeError(byTaps, byState);
    ok(error < 1e-12, `${length} tokens: off by ${error}`);
  }
});

Deno.test("modalTaps() is the recurrence's response to an impulse", () => {
  const ssm = randomSsm(new Random(testSeed()), 1), length = 512, { a, b, c } = ssm;
  const state = complexZeros(MODES);
  const response = Float64Array.from({ length }, (_, t) => {
    let y = 0;
    for (let n = 0; n < MODES; n++) {
      const re = state.re[n], im = state.im[n];
      state.re[n] = a.re[n] * re - a.im[n] * im + (t === 0 ? b.re[n] : 0);
      state.im[n] = a.re[n] * im + a.im[n] * re + (t === 0 ? b.im[n] : 0);
      y += 2 * (c.re[n] * state.re[n] - c.im[n] * state.im[n]);
    }
    return y;
  });
  const error = relativeError(modalTaps(modalForm(ssm), 1, length), response);
  ok(error < 1e-12, `off by ${error}`);
});

Deno.test("discretise() gives decaying modes for any parameters", () => {
  const random = new Random(testSeed());
  const { a } = discretise({
    logDt: random.normals(200, 0, 2),
    invAReal: random.normals(200, 0, 2),
    aImag: random.normals(200, 0, 100),
    b: complexZeros(200),
    c: complexZeros(200),
  });
  a.re.forEach((re, i) => ok(Math.hypot(re, a.im[i]) < 1, `mode ${i}: |${re} + ${a.im[i]}i| is not below 1`));
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
  const tables = {
    taps: new Float64Array(random.normals(width * TAPS)),
    ssm: randomSsm(random, width),
    skip: new Float64Array(width),
  };
  const invariant = new H3Mixer({ qkv, out }, tables), delay = 17 * width;
  const delayed = new Float64Array(x.length + delay);
  delayed.set(x, delay);
  const error = relativeError(invariant.forward(delayed).subarray(delay), invariant.forward(x));
  ok(error < 1e-12, `delayed rows are off by ${error}`);
});
