// The dense ops' ONNX forms on the CPU, against the float64 reference.
import { ok } from "node:assert/strict";
import { OrtRuntime } from "../../device/ort.ts";
import { OnnxPlan } from "../../kernels/onnx_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { DENSE_CASES } from "./dense_cases.ts";
import type { DenseProblem } from "./dense_problem.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";

Deno.test("Dense ops in ONNX match the float64 reference", async () => {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  const runtime = await OrtRuntime.open(2, 2 ** 29);
  for (const { name, tolerance, build } of DENSE_CASES) {
    const problem = build(new Random(seed));
    const error = Math.max(...await errorsPerStep(runtime, problem));
    console.log(`  ${error.toExponential(1)}  ${name}`);
    ok(error <= tolerance, `${name}: error ${error} exceeds ${tolerance}`);
  }
});

async function errorsPerStep(runtime: OrtRuntime, problem: DenseProblem): Promise<number[]> {
  const { graph, source, limits, steps } = problem;
  const reference = await ReferenceExecutor.create(graph, source);
  const options = { threads: runtime, numBlocks: limits.numBlocks, stagingBytes: 2 ** 20 };
  using plan = await OnnxPlan.create(graph, source, options);
  const errors: number[] = [];
  for (const { batch, inputs } of steps) {
    const expected = reference.step(batch, inputs).output;
    const actual = new Float32Array(expected.length);
    await plan.step(batch, (index, row) => actual.set(row, index * row.length), inputs);
    errors.push(relativeError(actual, expected));
  }
  return errors;
}
