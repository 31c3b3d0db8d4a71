import { deepStrictEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { weightsOf } from "../../kernels/graph_weights.ts";
import { loadFloat32 } from "../../kernels/tensor_source.ts";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { quantizeCheckpoint, quantizeRows } from "../../models/quantize.ts";
import { PARITY_CASES } from "./parity_cases.ts";
import { withFolder } from "./safetensors_bytes.ts";

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
      using original = await openCheckpoint(folderOf(name));
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
    });
  });
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
