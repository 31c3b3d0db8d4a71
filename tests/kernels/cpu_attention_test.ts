// Paged attention's WebAssembly kernels, against the float64 reference, on one thread and on three.
import { ok } from "node:assert/strict";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import {
  ATTENTION_CASES,
  ATTENTION_TOLERANCE,
  type AttentionProblem,
  buildAttention,
  drawAttentionCases,
} from "./attention_cases.ts";
import { MemorySource } from "./memory_source.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";

for (const numThreads of [1, 2]) {
  Deno.test(`Attention on the CPU matches the float64 reference, ${numThreads} threads`, async () => {
    const seed = testSeed();
    console.log(`  HYADES_TEST_SEED=${seed}`);
    // What threads share is the same in all.
    const cases = numThreads === 1 ? ATTENTION_CASES : drawAttentionCases(new Random(seed));
    for (const attentionCase of cases.filter(({ kvType }) => kvType !== "i8")) {
      const problem = buildAttention(attentionCase, new Random(seed));
      const error = await largestError(problem, numThreads);
      console.log(`  ${error.toExponential(1)}  ${attentionCase.name}`);
      ok(error <= ATTENTION_TOLERANCE, `${attentionCase.name}: error ${error}`);
    }
  });
}

async function largestError({ graph, limits, steps }: AttentionProblem, numThreads: number): Promise<number> {
  const reference = await ReferenceExecutor.create(graph, new MemorySource());
  using plan = await CpuPlan.create(graph, new MemorySource(), { limits, numThreads });
  let largest = 0;
  for (const { batch, inputs } of steps) {
    const expected = reference.step(batch, inputs).output;
    const actual = new Float32Array(expected.length);
    await plan.step(batch, (index, row) => actual.set(row, index * row.length), inputs);
    largest = Math.max(largest, relativeError(actual, expected));
  }
  return largest;
}
