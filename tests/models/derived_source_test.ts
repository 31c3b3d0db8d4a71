import { deepStrictEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { loadFloat32, type WeightRef } from "../../kernels/tensor_source.ts";
import { fromPairs } from "../../models/complex_array.ts";
import { DerivedSource } from "../../models/derived_source.ts";
import { h3Layout, loadH3Tables, parseH3Config } from "../../models/h3.ts";
import { deriveH3 } from "../../models/h3_derived.ts";
import { hyenaLayout, loadHyenaFilter, parseHyenaConfig } from "../../models/hyena.ts";
import { deriveHyena } from "../../models/hyena_derived.ts";
import { MemorySource } from "../kernels/memory_source.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { causalConvolution, columns } from "./decoder_reference.ts";
import { ModalConvolution } from "./hyena_reference.ts";
import { openCase, relativeError } from "./long_conv_cases.ts";

/** Tables kept in f32 against float64 ones. */
const F32_TOLERANCE = 1e-5;

Deno.test("DerivedSource reads computed rows beside stored ones, and computes once", async () => {
  const stored = new MemorySource();
  stored.add("a", [2, 2], Float32Array.of(1, 2, 3, 4));
  let computed = 0;
  const compute = () => Promise.resolve(Float32Array.of(5, 6, 7, ++computed));
  const source = new DerivedSource(stored, [{ name: "b", shape: [2, 2], from: [], compute }]);
  equal(computed, 0);
  deepStrictEqual(source.find("b"), { name: "b", dtype: "F32", shape: [2, 2] });
  deepStrictEqual(await source.readRows("a", 1, 2), await stored.readRows("a", 1, 2));
  const [first, second] = await Promise.all([source.readRows("b", 0, 1), source.readRows("b", 1, 2)]);
  deepStrictEqual([...new Float32Array(first.buffer), ...new Float32Array(second.buffer)], [5, 6, 7, 1]);
  const target = new Uint8Array(8);
  await source.readRowsInto("b", 0, 1, target);
  deepStrictEqual(target, first);
  equal(computed, 1);
  equal(source.find("c"), undefined);
  await rejects(source.readRows("c", 0, 1), /No tensor "c"/);
  throws(
    () => new DerivedSource(stored, [{ name: "a", shape: [2, 2], from: [], compute }]),
    /"a" must be computed/,
  );
});

Deno.test("deriveH3() gives the filter of taps by lag and the modal form that H3's layers run", async () => {
  using opened = await openCase("h3-attention");
  const config = parseH3Config(opened.config), layout = h3Layout(config, opened.source);
  const { source, steps } = deriveH3(config, layout, opened.source), { width, numTaps, numModes } = config;
  equal(steps[1], undefined);
  const refs = steps[2]!, tables = await loadH3Tables(opened.source, layout.mixers[2].ssm!);
  deepStrictEqual([refs.taps.shape, refs.poles.shape, refs.skip.shape], [[numTaps, width], [
    width,
    2 * numModes,
  ], [width]]);
  const read = (ref: WeightRef) => loadFloat32(source, ref);
  const taps = await read(refs.taps);
  for (let lag = 0; lag < numTaps; lag++) {
    for (let c = 0; c < width; c++) equal(taps[lag * width + c], Math.fround(tables.taps[c * numTaps + lag]));
  }
  const modal = { poles: fromPairs(await read(refs.poles)), residues: fromPairs(await read(refs.residues)) };
  const convolution = new ModalConvolution(modal, await read(refs.skip)), state = convolution.newState();
  const w = Float64Array.from(new Random(testSeed()).normals(200 * width)), y = new Float64Array(w.length);
  for (let at = 0; at < w.length; at += width) y.set(convolution.step(w.subarray(at, at + width), state), at);
  const error = relativeError(y, recurrence(tables, w, width));
  console.log(`  modes in f32: ${error.toExponential(1)}`);
  ok(error < F32_TOLERANCE, `off by ${error}`);
});

/** As H3 defines it, in float64: s <- poles s + inputs w, y = Re sum of (residues / inputs) s + skip w. */
function recurrence(
  { ssm: { poles, inputs, residues }, skip }: Awaited<ReturnType<typeof loadH3Tables>>,
  w: Float64Array,
  width: number,
): Float64Array {
  const re = new Float64Array(poles.re.length),
    im = new Float64Array(re.length),
    numModes = re.length / width;
  return w.map((input, at) => {
    let y = skip[at % width] * input;
    for (let i = at % width * numModes; i < (at % width + 1) * numModes; i++) {
      const next = poles.re[i] * re[i] - poles.im[i] * im[i] + inputs.re[i] * input;
      im[i] = poles.re[i] * im[i] + poles.im[i] * re[i] + inputs.im[i] * input;
      re[i] = next;
      const square = inputs.re[i] ** 2 + inputs.im[i] ** 2;
      const cRe = (residues.re[i] * inputs.re[i] + residues.im[i] * inputs.im[i]) / square;
      const cIm = (residues.im[i] * inputs.re[i] - residues.re[i] * inputs.im[i]) / square;
      y += cRe * re[i] - cIm * im[i];
    }
    return y;
  });
}

Deno.test("deriveHyena() gives filters by lag, the short one of gates and of values apart", async () => {
  using opened = await openCase("hyena-dna-hf");
  const config = parseHyenaConfig(opened.config), layout = hyenaLayout(config, opened.source);
  const { source, steps } = deriveHyena(config, layout, opened.source),
    { width } = config,
    channels = 3 * width;
  const stored = layout.mixers[1].long, { long, gates, values } = steps[1];
  ok(stored.form === "filter" && long.form === "filter");
  const filter = await loadFloat32(source, long.filter);
  deepStrictEqual(filter, Float32Array.from(await loadHyenaFilter(config, opened.source, stored)));
  const weight = await loadFloat32(opened.source, layout.mixers[1].short.weight);
  const bias = await loadFloat32(opened.source, layout.mixers[1].short.bias);
  // By its definition: the last stored tap meets the current token.
  const x = Float64Array.from(new Random(testSeed()).normals(5 * channels));
  const wanted = x.map((_, at) => {
    let sum = bias[at % channels];
    for (let i = 0; i < 3; i++) sum += weight[at % channels * 3 + i] * (x[at - (2 - i) * channels] ?? 0);
    return sum;
  });
  for (const [refs, start, end] of [[gates, 0, 2 * width], [values, 2 * width, channels]] as const) {
    const byLag = await loadFloat32(source, refs.taps), own = await loadFloat32(source, refs.bias);
    const taps = Float64Array.from(byLag, (_, at) => byLag[at % 3 * own.length + Math.floor(at / 3)]);
    const y = causalConvolution(taps, columns(x, channels, start, end), end - start)
      .map((value, at) => value + own[at % own.length]);
    const error = relativeError(y, columns(wanted, channels, start, end));
    ok(error < 1e-14, `channels ${start} to ${end}: off by ${error}`);
  }
});
