// Attention's ONNX form and the CPU's KV cache, against the float64 reference.
import { ok } from "node:assert/strict";
import { OrtRuntime } from "../../device/ort.ts";
import { OnnxPlan } from "../../kernels/onnx_plan.ts";
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

// With little room for staging, sequences run in turns; it must change nothing.
const STAGING_BYTES = [2 ** 30, 2 ** 18];

Deno.test("Attention in ONNX matches the float64 reference, with much and little room for staging", async () => {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  const runtime = await OrtRuntime.open(2, 2 ** 29);
  const few = new Set(drawAttentionCases(new Random(seed)));
  for (const attentionCase of ATTENTION_CASES.filter(({ kvType }) => kvType !== "i8")) {
    const problem = buildAttention(attentionCase, new Random(seed));
    const reference = await ReferenceExecutor.create(problem.graph, new MemorySource());
    const expected = problem.steps.map(({ batch, inputs }) => reference.step(batch, inputs).output);
    for (const stagingBytes of few.has(attentionCase) ? STAGING_BYTES : STAGING_BYTES.slice(1)) {
      const actual = await outputsPerStep(runtime, problem, stagingBytes);
      const error = Math.max(...expected.map((output, step) => relativeError(actual[step], output)));
      console.log(`  ${error.toExponential(1)}  ${attentionCase.name}, ${stagingBytes} bytes`);
      ok(error <= ATTENTION_TOLERANCE, `${attentionCase.name}, ${stagingBytes} bytes: error ${error}`);
    }
  }
});

async function outputsPerStep(runtime: OrtRuntime, problem: AttentionProblem, stagingBytes: number) {
  const { graph, limits, steps } = problem;
  const options = { threads: runtime, numBlocks: limits.numBlocks, stagingBytes };
  using plan = await OnnxPlan.create(graph, new MemorySource(), options);
  const outputs: Float32Array[] = [];
  for (const { batch, inputs } of steps) {
    const output = new Float32Array(batch.tokenIds.length * graph.output.width);
    await plan.step(batch, (index, row) => output.set(row, index * row.length), inputs);
    outputs.push(output);
  }
  return outputs;
}
