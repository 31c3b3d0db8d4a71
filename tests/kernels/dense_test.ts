// The dense kernels on every GPU, in both profiles, against the float64 reference.
import { deepStrictEqual, ok } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import type { LinearNode } from "../../kernels/graph.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { gpuTest, matrixUnitsTest } from "../gpus.ts";
import { DENSE_CASES, type DenseCase, drawDenseCases, drawMatrixCases, MATRIX_CASES } from "./dense_cases.ts";
import type { DenseProblem } from "./dense_problem.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";

const BINDING_LIMITS = [...new Set(DENSE_CASES.map((c) => c.maxBindingBytes))];

for (const profile of ["safe", "fast"] as const) {
  for (const maxBindingBytes of BINDING_LIMITS) {
    const limited = maxBindingBytes ? `, bindings of ${maxBindingBytes} bytes` : "";
    gpuTest(
      `Dense kernels match the float64 reference (${profile}${limited})`,
      {
        profile,
        drawn: profile === "safe" || !!maxBindingBytes,
        ...(maxBindingBytes && { maxBindingBytes }),
      },
      (gpu) => checkCases(gpu, drawDenseCases, maxBindingBytes),
    );
  }
}

for (const maxBindingBytes of new Set(MATRIX_CASES.map((c) => c.maxBindingBytes))) {
  const limited = maxBindingBytes ? ` in bindings of ${maxBindingBytes} bytes` : "";
  matrixUnitsTest(
    `Linear${limited} matches the float64 reference`,
    { ...(maxBindingBytes && { maxBindingBytes }) },
    (gpu) => checkCases(gpu, drawMatrixCases, maxBindingBytes),
  );
}

async function checkCases(
  gpu: GpuDevice,
  draw: (random: Random) => readonly DenseCase[],
  maxBindingBytes: number | undefined,
): Promise<void> {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  for (const denseCase of draw(new Random(seed))) {
    if (denseCase.maxBindingBytes === maxBindingBytes) await checkCase(gpu, denseCase, seed);
  }
}

function toleranceOn({ profile, caps }: GpuDevice, denseCase: DenseCase, rows: number): number {
  const { tolerance, halvesTolerance, fixedPointTolerance } = denseCase;
  if (profile === "safe") return tolerance;
  return Math.max(
    tolerance,
    caps.matrixFragment ? halvesTolerance ?? 0 : 0,
    caps.subgroups && rows === 1 ? fixedPointTolerance ?? 0 : 0,
  );
}

async function checkCase(gpu: GpuDevice, denseCase: DenseCase, seed: number): Promise<void> {
  const problem = denseCase.build(new Random(seed));
  const expected = await referenceOutputs(problem);
  const actual = await gpuOutputs(gpu, problem);
  const errors = expected.map((output, step) => relativeError(actual[step], output));
  console.log(`  ${Math.max(...errors).toExponential(1)}  ${denseCase.name}`);
  for (const [step, { batch: { tokenIds: { length } } }] of problem.steps.entries()) {
    const tolerance = toleranceOn(gpu, denseCase, length);
    ok(
      errors[step] <= tolerance,
      `${denseCase.name}, ${length} rows: error ${errors[step]} exceeds ${tolerance}`,
    );
  }
}

async function referenceOutputs({ graph, source, steps }: DenseProblem): Promise<Float64Array[]> {
  const reference = await ReferenceExecutor.create(graph, source);
  return steps.map(({ batch, inputs }) => reference.step(batch, inputs).output);
}

async function gpuOutputs(gpu: GpuDevice, problem: DenseProblem): Promise<Float32Array[]> {
  const { graph, source, limits, steps } = problem;
  using plan = await GpuPlan.create(gpu, graph, source, { limits, kvType: "f32" });
  const outputs: Float32Array[] = [];
  for (const { batch, inputs } of steps) outputs.push((await plan.step(batch, inputs)).logits!);
  return outputs;
}

gpuTest("Linear gives a row the same bits alone and among 70 (safe)", {}, async (gpu) => {
  const many = DENSE_CASES.find((c) => c.name.startsWith("linear F16 70,6,1x131x67"))!;
  const problem = many.build(new Random(testSeed()));
  const { batch, inputs } = problem.steps[0];
  const row = 69, width = inputs.x.length / 70;
  const alone = {
    batch: {
      ...batch,
      tokenIds: batch.tokenIds.slice(0, 1),
      positions: batch.positions.slice(0, 1),
      slotMapping: batch.slotMapping.slice(0, 1),
      queryStart: Uint32Array.of(0, 1),
      contextLengths: Uint32Array.of(1),
      samples: [],
    },
    inputs: { x: inputs.x.slice(row * width, (row + 1) * width) },
  };
  const [among, single] = await gpuOutputs(gpu, { ...problem, steps: [problem.steps[0], alone] });
  deepStrictEqual(single, among.slice(row * single.length, (row + 1) * single.length));
});

const MISTAKES: readonly [string, (node: LinearNode) => LinearNode][] = [
  ["the other GELU", (node) => ({ ...node, activation: "gelu_erf" })],
  ["a missing bias", ({ bias: _, ...node }) => node],
  ["a missing activation", ({ activation: _, ...node }) => node],
];

Deno.test("The table's comparison notices a wrong kernel", async () => {
  const tanh = DENSE_CASES.find((c) => c.name.startsWith("linear F32 3,65x33x130"))!;
  const problem = tanh.build(new Random(testSeed()));
  const [expected] = await referenceOutputs(problem);
  for (const [mistake, change] of MISTAKES) {
    const nodes = problem.graph.nodes.map((node) => node.op === "linear" ? change(node) : node);
    const [wrong] = await referenceOutputs({ ...problem, graph: { ...problem.graph, nodes } });
    ok(relativeError(wrong, expected) > tanh.tolerance, `${mistake} went unnoticed`);
  }
  const almost = expected.slice();
  almost[7] += 10 * tanh.tolerance * Math.max(...expected.map(Math.abs));
  ok(relativeError(almost, expected) > tanh.tolerance);
  almost[7] = NaN;
  ok(!(relativeError(almost, expected) <= tanh.tolerance));
});
