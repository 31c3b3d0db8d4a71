import { deepStrictEqual, equal, ok } from "node:assert/strict";
import { type ModalFilter, modalTaps } from "../../kernels/filters/diagonal_filter.ts";
import type { ComplexArray } from "../../kernels/filters/fourier.ts";
import { decayDeltas, implicitFilter, positionFeatures } from "../../kernels/filters/implicit_filter.ts";
import { complexZeros, fromPairs } from "../../models/complex_array.ts";
import { distilFilters, type DistilledFilters } from "../../models/modal_fit.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { causalConvolution } from "./decoder_reference.ts";
import { ModalConvolution, modalFilters } from "./hyena_reference.ts";
import { relativeError } from "./long_conv_cases.ts";

/** Taps of distilled filters, [channels, length]. */
function tapsOf({ skip, ...modal }: DistilledFilters, length: number): Float64Array {
  const taps = modalFilters(modal, skip.length, length);
  skip.forEach((share, c) => taps[c * length] += share);
  return taps;
}

function polar(size: number, angle: number): [number, number] {
  return [size * Math.cos(angle), size * Math.sin(angle)];
}

/** Modes apart from one another, so that which they are is well-posed. */
function knownModes(random: Random, numModes: number): ModalFilter {
  const poles = Array.from(
    { length: numModes },
    (_, m) => polar(0.7 + 0.299 * random.uniform(), Math.PI * (m + 0.2 + 0.6 * random.uniform()) / numModes),
  );
  const residues = Array.from(
    { length: numModes },
    () => polar(0.5 + random.uniform(), 6 * random.uniform()),
  );
  return { poles: fromPairs(poles.flat()), residues: fromPairs(residues.flat()) };
}

function byAngle({ re, im }: ComplexArray): [number, number][] {
  return [...re].map((x, i) => [x, im[i]] as [number, number])
    .sort(([a, b], [c, d]) => Math.atan2(b, a) - Math.atan2(d, c));
}

Deno.test("distilFilters() finds the modes that a filter was made of", () => {
  const random = new Random(testSeed());
  for (const [numModes, length] of [[1, 64], [4, 300], [8, 512]]) {
    const modes = knownModes(random, numModes), taps = modalTaps(modes, length);
    const distilled = distilFilters(taps, 1, numModes);
    ok(distilled.errors[0] < 1e-8, `${numModes} modes: off by ${distilled.errors[0]}`);
    const wanted = byAngle(modes.poles);
    byAngle(distilled.poles).forEach(([re, im], i) => {
      const distance = Math.hypot(re - wanted[i][0], im - wanted[i][1]);
      ok(distance < 1e-8, `${numModes} modes: pole ${i} is off by ${distance}`);
    });
  }
});

Deno.test("distilFilters() gives modes that are not needed nothing, real poles one each, and lag 0 to the skip", () => {
  const taps = Float64Array.from({ length: 200 }, (_, t) => t === 0 ? 7 : 0.9 ** t - 0.5 * (-0.6) ** t);
  const { poles, residues, skip, errors } = distilFilters(taps, 1, 4);
  ok(errors[0] < 1e-12, `off by ${errors[0]}`);
  deepStrictEqual([...poles.re].map((x) => Number(x.toFixed(9))).sort(), [-0.6, 0, 0, 0.9]);
  deepStrictEqual([...poles.im], [0, 0, 0, 0]);
  deepStrictEqual([...residues.re].map((x) => Number(x.toFixed(9))).sort(), [-0.5, 0, 0, 1]);
  ok(Math.abs(skip[0] - 6.5) < 1e-9, `skip ${skip[0]}`);
});

Deno.test("distilFilters() of filters without an end, without taps, or with the first alone", () => {
  const growing = Float64Array.from({ length: 100 }, (_, t) => 1.05 ** t);
  const { poles, errors } = distilFilters(growing, 1, 2);
  poles.re.forEach((re, i) => ok(Math.hypot(re, poles.im[i]) < 1, "a mode grows"));
  ok(errors[0] > 0.1, "what cannot be fitted is told");
  const still = distilFilters(Float64Array.of(...new Float64Array(8), 5, ...new Float64Array(7)), 2, 2);
  deepStrictEqual([...still.skip], [0, 5]);
  deepStrictEqual([...still.errors], [0, 0]);
  deepStrictEqual(still.residues, complexZeros(4));
});

/** Filters as Hyena has them before training. */
function randomFilters(random: Random, channels: number, length: number): Float64Array {
  const hidden = 16, bands = 2;
  const layer = (inputs: number) => ({
    weight: random.normals(hidden * inputs, 0, 0.3 / Math.sqrt(inputs)),
    bias: random.normals(hidden, 0, 0.1),
  });
  return implicitFilter({
    features: positionFeatures(length, bands),
    frequencies: new Float64Array(hidden).fill(10),
    sineLayers: [layer(2 * bands + 1), layer(hidden), layer(hidden)],
    lastLayer: { weight: random.normals(channels * hidden, 0, 0.25) },
    deltas: decayDeltas(channels),
  }, length);
}

Deno.test("distilFilters() tells what it is off by, less with more modes, and reads nothing but the taps", () => {
  const random = new Random(testSeed()),
    channels = 4,
    length = 512,
    taps = randomFilters(random, channels, length);
  const fits = [4, 16].map((numModes) => distilFilters(taps, channels, numModes));
  fits.forEach((fit, i) => {
    const fitted = tapsOf(fit, length);
    for (let c = 0; c < channels; c++) {
      let difference = 0, size = 0;
      for (let t = c * length; t < (c + 1) * length; t++) {
        difference += (fitted[t] - taps[t]) ** 2;
        size += taps[t] ** 2;
      }
      const error = Math.sqrt(difference / size);
      ok(Math.abs(error - fit.errors[c]) < 1e-9, `channel ${c}: ${fit.errors[c]} is told, ${error} is so`);
      if (i > 0) ok(error < fits[i - 1].errors[c], `channel ${c} has no less with more modes`);
    }
    console.log(
      `  ${[4, 16][i]} modes: ${[...fit.errors].map((error) => error.toExponential(1)).join(", ")}`,
    );
  });
  deepStrictEqual(distilFilters(taps, channels, 16), fits[1]);
});

Deno.test("distilled filters step as they convolve", () => {
  const random = new Random(testSeed()), channels = 3, length = 200;
  const { skip, ...modal } = distilFilters(randomFilters(random, channels, length), channels, 12);
  const convolution = new ModalConvolution(modal, skip), state = convolution.newState();
  const u = Float64Array.from(random.normals(length * channels)), stepped = new Float64Array(u.length);
  for (let at = 0; at < u.length; at += channels) {
    stepped.set(convolution.step(u.subarray(at, at + channels), state), at);
  }
  const taps = tapsOf({ ...modal, skip, errors: skip }, length);
  equal(taps.length, channels * length);
  const error = relativeError(stepped, causalConvolution(taps, u, channels));
  ok(error < 1e-11, `off by ${error}`);
});
