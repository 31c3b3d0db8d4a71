// The WebAssembly kernels of convolutions and diagonal SSMs, against the float64 reference, on one thread and on two.
import { ok, rejects } from "node:assert/strict";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { buildLongConvolution, LONG_CONVOLUTION_CASES } from "./long_convolution_cases.ts";
import { Random, testSeed } from "./random.ts";
import { RECURRENT_CASES, type RecurrentCase, type RecurrentProblem } from "./recurrent_cases.ts";
import { relativeError } from "./relative_error.ts";
import { joined } from "./scheduled_steps.ts";

/** Of sums in f32 over thousands of lags, one after the other. */
const DIRECT_TOLERANCE = 1e-5;

const CASES: readonly RecurrentCase[] = [
  ...RECURRENT_CASES,
  ...LONG_CONVOLUTION_CASES.map((convolutionCase) => ({
    name: `long convolution of ${convolutionCase.name}`,
    tolerance: DIRECT_TOLERANCE,
    build: (random: Random) => buildLongConvolution(convolutionCase, random),
  })),
];

for (const numThreads of [1, 2]) {
  Deno.test(`Convolutions and SSMs on the CPU match the float64 reference, ${numThreads} threads`, async () => {
    const seed = testSeed();
    console.log(`  HYADES_TEST_SEED=${seed}`);
    // Starting threads takes longer than all else, so two of them see every third case.
    for (const { name, tolerance, build } of CASES.filter((_, i) => numThreads === 1 || i % 3 === 0)) {
      const problem = build(new Random(seed));
      const error = await errorOf(problem, numThreads);
      console.log(`  ${error.toExponential(1)}  ${name}`);
      ok(error <= tolerance, `${name}: error ${error} exceeds ${tolerance}`);
    }
  });
}

Deno.test("CpuPlan refuses a recurrent graph without room for states, and a batch without slots", async () => {
  const { graph, source, limits, steps } = RECURRENT_CASES[0].build(new Random(1));
  const { numStateSlots: _, ...without } = limits;
  await rejects(CpuPlan.create(graph, source, { limits: without, numThreads: 1 }), /numStateSlots/);
  using plan = await CpuPlan.create(graph, source, { limits, numThreads: 1 });
  const { stateSlots: __, ...batch } = steps[0].batch;
  await rejects(plan.step(batch, () => {}, steps[0].inputs), /every sequence needs a state slot/);
});

async function errorOf(
  { graph, source, limits, steps }: RecurrentProblem,
  numThreads: number,
): Promise<number> {
  const reference = await ReferenceExecutor.create(graph, source);
  using plan = await CpuPlan.create(graph, source, { limits, numThreads });
  const expected: Float64Array[] = [], actual: Float32Array[] = [];
  for (const { batch, inputs } of steps) {
    const output = reference.step(batch, inputs).output, rows = new Float32Array(output.length);
    await plan.step(batch, (index, row) => rows.set(row, index * row.length), inputs);
    expected.push(output);
    actual.push(rows);
  }
  return relativeError(joined(actual), joined(expected));
}
