// The dense ops' WebAssembly kernels, against the float64 reference, on one thread and on three.
import { ok } from "node:assert/strict";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { DENSE_CASES, type DenseProblem } from "./dense_cases.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";

for (const numThreads of [1, 2]) {
  Deno.test(`Dense ops on the CPU match the float64 reference, ${numThreads} threads`, async () => {
    const seed = testSeed();
    console.log(`  HYADES_TEST_SEED=${seed}`);
    for (const { name, tolerance, build } of DENSE_CASES) {
      const problem = build(new Random(seed));
      const error = Math.max(...await errorsPerStep(problem, numThreads));
      console.log(`  ${error.toExponential(1)}  ${name}`);
      ok(error <= tolerance, `${name}: error ${error} exceeds ${tolerance}`);
    }
  });
}

async function errorsPerStep(problem: DenseProblem, numThreads: number): Promise<number[]> {
  const { graph, source, limits, steps } = problem;
  const reference = await ReferenceExecutor.create(graph, source);
  using plan = await CpuPlan.create(graph, source, { limits, numThreads });
  const errors: number[] = [];
  for (const { batch, inputs } of steps) {
    const expected = reference.step(batch, inputs).output;
    const actual = new Float32Array(expected.length);
    await plan.step(batch, (index, row) => actual.set(row, index * row.length), inputs);
    errors.push(relativeError(actual, expected));
  }
  return errors;
}
