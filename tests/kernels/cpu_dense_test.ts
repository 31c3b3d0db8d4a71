// The dense ops' WebAssembly kernels, against the float64 reference, on one thread and on three.
import { ok } from "node:assert/strict";
import { CpuPlan, type CpuPlanOptions } from "../../kernels/cpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { DENSE_CASES } from "./dense_cases.ts";
import type { DenseProblem } from "./dense_problem.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";

for (const [numThreads, int8Form] of [[1, "limbs"], [2, "limbs"], [1, "floats"], [2, "floats"]] as const) {
  Deno.test(`Dense ops on the CPU match the float64 reference, ${numThreads} threads, ${int8Form}`, async () => {
    const seed = testSeed();
    console.log(`  HYADES_TEST_SEED=${seed}`);
    // Starting threads takes longer than all else, so two of them see every third case.
    const cases = DENSE_CASES.filter((_, i) => numThreads === 1 || i % 3 === 0);
    for (const { name, tolerance, build } of cases) {
      const problem = build(new Random(seed));
      const error = Math.max(...await errorsPerStep(problem, { numThreads, int8Form }));
      console.log(`  ${error.toExponential(1)}  ${name}`);
      ok(error <= tolerance, `${name}: error ${error} exceeds ${tolerance}`);
    }
  });
}

type Options = Pick<CpuPlanOptions, "numThreads" | "int8Form">;

async function errorsPerStep(problem: DenseProblem, options: Options): Promise<number[]> {
  const { graph, source, limits, steps } = problem;
  const reference = await ReferenceExecutor.create(graph, source);
  using plan = await CpuPlan.create(graph, source, { limits, ...options });
  const errors: number[] = [];
  for (const { batch, inputs } of steps) {
    const expected = reference.step(batch, inputs).output;
    const actual = new Float32Array(expected.length);
    await plan.step(batch, (index, row) => actual.set(row, index * row.length), inputs);
    errors.push(relativeError(actual, expected));
  }
  return errors;
}
