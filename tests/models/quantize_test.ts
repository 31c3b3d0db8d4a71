import { deepStrictEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { weightsOf } from "../../kernels/graph_weights.ts";
import { loadFloat32 } from "../../kernels/tensor_source.ts";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { unpackInt4 } from "../../kernels/int4.ts";
import { quantizeRowsToInt4 } from "../../models/int4_rounding.ts";
import { quantizeCheckpoint, quantizeRows } from "../../models/quantize.ts";
import { caseFolder, H3_CASES, STRIPED_CASE } from "./long_conv_cases.ts";
import { PARITY_CASES } from "./parity_cases.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { type HeaderEntry, withFolder } from "./safetensors_bytes.ts";

function folderOf(name: string): string {
  return PARITY_CASES.find((candidate) => candidate.name === name)!.modelDir;
}

Deno.test("quantizeRows() scales each row by its largest magnitude and rounds to the nearest", () => {
  const { values, scales } = quantizeRows(Float32Array.of(1, -2, 0.5, 0, 0, 0, 1e-44, 0, 0), 3);
  deepStrictEqual([...values], [64, -127, 32, 0, 0, 0, 0, 0, 0]);
  deepStrictEqual([...scales], [Math.fround(2 / 127), 1, 1]);
});

for (const bad of [NaN, Infinity, -Infinity]) {
  Deno.test(`quantizeRows() refuses ${bad}`, () => {
    throws(() => quantizeRows(Float32Array.of(1, bad, 2, 3), 2), /weights must be finite/);
  });
}

for (const name of ["mqa-d64-sharded-f32", "mqa-d128-erf-f16", "mha-d96-bf16"]) {
  Deno.test(`quantizeCheckpoint() keeps matrices within half a step and all else exactly: ${name}`, async () => {
    await withFolder({}, async (target) => {
      const progress: number[] = [];
      const { sourceBytes, targetBytes } = await quantizeCheckpoint(folderOf(name), target, {
        onProgress: (done, total) => progress.push(done / total),
      });
      ok(targetBytes < 0.7 * sourceBytes, `${sourceBytes} -> ${targetBytes}`);
      equal(progress.at(-1), 1);
      await requireQuantized(folderOf(name), target);
    });
  });
}

for (const name of [...H3_CASES, "hyena-lm", STRIPED_CASE] as const) {
  Deno.test(`quantizeCheckpoint() keeps what filters and state-space models are computed from: ${name}`, async () => {
    await withFolder({}, async (target) => {
      await quantizeCheckpoint(caseFolder(name), target);
      await requireQuantized(caseFolder(name), target);
    });
  });
}

/** Matrices and embeddings within half a step, everything else that the network reads, computed or not, as it was. */
async function requireQuantized(source: string, target: string): Promise<void> {
  using original = await openCheckpoint(source);
  using quantized = await openCheckpoint(target);
  equal(quantized.numParameters, original.numParameters);
  deepStrictEqual(quantized.tokenizer, original.tokenizer);
  for (const { ref, role } of weightsOf(original.network.graph)) {
    const isInt8 = role === "matrix" || role === "embedding";
    equal(quantized.tensors.find(ref.name)?.dtype === "I8", isInt8, ref.name);
    const before = await loadFloat32(original.tensors, ref);
    const after = await loadFloat32(quantized.tensors, ref);
    if (isInt8) requireHalfSteps(before, after, ref.shape[1], ref.name);
    else deepStrictEqual(after, before, ref.name);
  }
}

/** Every element must be off by at most half a step of its row, and some row by most of that. */
function requireHalfSteps(before: Float32Array, after: Float32Array, width: number, name: string): void {
  let worst = 0;
  for (let start = 0; start < before.length; start += width) {
    const row = before.subarray(start, start + width);
    const step = row.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127;
    row.forEach((x, i) => worst = Math.max(worst, Math.abs(x - after[start + i]) / step));
  }
  ok(worst > 0.3 && worst <= 0.5001, `${name}: worst error is ${worst} steps`);
}

Deno.test("quantizeRowsToInt4() leaves at most half a step, or what clipping to the nearest end saves", () => {
  const random = new Random(testSeed());
  for (const width of [1, 31, 32, 33, 100]) {
    const values = random.normals(5 * width);
    const { packed, multipliers, scales } = quantizeRowsToInt4(values, width);
    const rounded = unpackInt4(packed, multipliers, width), groups = Math.ceil(width / 32);
    values.forEach((x, i) => {
      const row = Math.floor(i / width), multiplier = multipliers[row * groups + Math.floor(i % width / 32)];
      const step = multiplier * scales[row], steps = Math.max(-8, Math.min(7, x / step));
      const error = Math.abs(steps - rounded[i] / multiplier);
      ok(error <= 0.5001, `${x} in column ${i % width} of ${width} is off by ${error} steps`);
    });
  }
});

Deno.test("quantizeRowsToInt4() keeps what int4 can hold exactly: both ends, either sign, zeros, a short last group", () => {
  const row = (sign: number) =>
    Float32Array.from({ length: 40 }, (_, k) => sign * (k < 32 ? (k % 16 - 8) * 15 : k % 8));
  const values = Float32Array.of(...row(1), ...row(-1), ...new Float32Array(40));
  const { packed, multipliers, scales } = quantizeRowsToInt4(values, 40);
  deepStrictEqual([...multipliers], [15, 1, -15, 1, 1, 1]);
  deepStrictEqual([...scales], [1, 1, 1]);
  deepStrictEqual([...unpackInt4(packed, multipliers, 40)], [...values].map((x) => x + 0));
});

for (const bad of [NaN, Infinity]) {
  Deno.test(`quantizeRowsToInt4() refuses ${bad}`, () => {
    throws(() => quantizeRowsToInt4(Float32Array.of(1, bad, 2, 3), 2), /weights must be finite/);
  });
}

for (const name of ["mqa-d40-f32", "mha-d80-untied-int8"]) {
  Deno.test(`quantizeCheckpoint() to 4 bits writes the layout that is documented: ${name}`, async () => {
    await withFolder({}, async (target) => {
      const { sourceBytes, targetBytes } = await quantizeCheckpoint(folderOf(name), target, { bits: 4 });
      ok(targetBytes < sourceBytes, `${sourceBytes} -> ${targetBytes}`);
      equal(JSON.parse(await Deno.readTextFile(`${target}/config.json`)).quantization_config.bits, 4);
      const header = await headerOf(`${target}/model.safetensors`);
      using original = await openCheckpoint(folderOf(name));
      using quantized = await openCheckpoint(target);
      for (const { ref, role } of weightsOf(original.network.graph)) {
        const before = await loadFloat32(original.tensors, ref),
          after = await loadFloat32(quantized.tensors, ref);
        const isExact = role === "vector" || role === "positions";
        if (isExact || role === "embedding" && name.endsWith("int8")) {
          deepStrictEqual(after, before, ref.name);
        }
        if (role !== "matrix") continue;
        const [rows, columns] = ref.shape, groups = Math.ceil(columns / 32);
        deepStrictEqual([header[ref.name].dtype, header[ref.name].shape], ["U8", [rows, groups * 16]]);
        deepStrictEqual(header[`${ref.name}_multiplier`].shape, [rows, groups]);
        const error = after.reduce((sum, x, i) => sum + (x - before[i]) ** 2, 0);
        const size = before.reduce((sum, x) => sum + x ** 2, 0);
        ok(error > 0 && error < 0.012 * size, `${ref.name}: squared error is ${error / size} of the weights`);
      }
    });
  });
}

async function headerOf(path: string): Promise<Record<string, HeaderEntry>> {
  const file = await Deno.readFile(path);
  const length = Number(new DataView(file.buffer).getBigUint64(0, true));
  return JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
}

Deno.test("quantizeCheckpoint() refuses int4 as a source; a multiplier that no byte holds is refused", async () => {
  await withFolder({}, async (target) => {
    await quantizeCheckpoint(folderOf("mqa-d40-f32"), target, { bits: 4 });
    await rejects(
      quantizeCheckpoint(target, `${target}/again`, { bits: 4 }),
      /is int4 already; start from the float or int8/,
    );
    await rejects(
      quantizeCheckpoint(target, `${target}/again`),
      /is int4 already; start from the float checkpoint/,
    );

    const path = `${target}/model.safetensors`, file = await Deno.readFile(path);
    const dataStart = 8 + Number(new DataView(file.buffer).getBigUint64(0, true));
    const name = Object.keys(await headerOf(path)).find((key) => key.endsWith("_multiplier"))!;
    file[dataStart + (await headerOf(path))[name].data_offsets[0]] = 16;
    await Deno.writeFile(path, file);
    using broken = await openCheckpoint(target);
    const { ref } = weightsOf(broken.network.graph).find(({ ref }) => `${ref.name}_multiplier` === name)!;
    await rejects(
      loadFloat32(broken.tensors, ref),
      /must be within -15 to 15, received 16 in row 0; quantise/,
    );
  });
});

Deno.test("quantizeCheckpoint() refuses a target that is a file, and says what it could not write", async () => {
  await withFolder({ file: "" }, async (folder) => {
    const source = folderOf("mqa-d64-sharded-f32");
    await rejects(quantizeCheckpoint(source, `${folder}/file`), /"[^"]*file" is a file; name a folder/);
    await Deno.mkdir(`${folder}/model.safetensors.partial/x`, { recursive: true });
    await rejects(quantizeCheckpoint(source, folder), /Is a directory|open/);
  });
});

Deno.test("quantizeCheckpoint() does not overwrite a model unless forced, nor its own source, nor int8", async () => {
  const source = folderOf("mqa-d40-f32");
  await withFolder({ "model.safetensors": "precious" }, async (target) => {
    await rejects(
      quantizeCheckpoint(source, target),
      /exists; name another folder, or overwrite it with --force/,
    );
    equal(await Deno.readTextFile(`${target}/model.safetensors`), "precious");
    await quantizeCheckpoint(source, target, { force: true });
    await rejects(quantizeCheckpoint(target, `${target}/again`), /is int8 already/);
    await rejects(quantizeCheckpoint(source, source, { force: true }), /is the checkpoint itself/);
    const left = [...Deno.readDirSync(target)].map(({ name }) => name).sort();
    deepStrictEqual(left, [
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
  });
});
