// Histories of long convolutions on every GPU, in both profiles, and on the CPU, against the float64 reference; and that a
// text gives the same however it is cut into steps.
import { deepStrictEqual, ok } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { CpuPlan } from "../../kernels/cpu_plan.ts";
import type { OnlineShapeWanted } from "../../kernels/convolution_history/online_sums.ts";
import type { ConvolutionHistoryNode } from "../../kernels/graph.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import type { StepLimits } from "../../kernels/step.ts";
import { gpuTest } from "../gpus.ts";
import {
  buildHistory,
  buildSharedBlocks,
  buildWholeConvolution,
  type ConvolutionHistoryCase,
  type ConvolutionHistoryProblem,
  DIVIDED_BINDING_BYTES,
  DIVIDED_CASE,
  DIVIDED_ONLINE_CASE,
  F16_HISTORY_TOLERANCE,
  HISTORY_CASES,
  HISTORY_TOLERANCE,
  ONLINE_CASES,
  TRANSFORMED_CASE,
} from "./convolution_history_cases.ts";
import { LimitedGpu } from "./limited_gpu.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";
import { joined, limitsFor, type Schedule, type ScheduledStep, scheduleSteps } from "./scheduled_steps.ts";

/** Outputs of all steps. */
type Run = (problem: ConvolutionHistoryProblem) => Promise<Float32Array[]>;

for (const profile of ["safe", "fast"] as const) {
  gpuTest(
    `Convolution history matches the float64 reference (${profile})`,
    { profile, drawn: profile === "safe" },
    (gpu) => checkCases(onGpu(gpu), HISTORY_CASES, HISTORY_TOLERANCE, limitsOf(HISTORY_CASES)),
  );
}

/** Small ones, so that windows and squares of every size are met. */
const ONLINE = { window: 128, square: 16 };
/** All but the smallest squares, as far as a step has room. */
const TRANSFORMED = { window: 64, square: 16, transformsWorth: 8 };
/** So little that transforms of 512 positions and more take three passes. */
const TINY_WORKGROUPS = 2 * 1024 + 512;

gpuTest(
  "Convolution history that is summed online matches the float64 reference",
  { profile: "fast" },
  (gpu) => checkCases(onGpu(gpu, "f32", ONLINE), ONLINE_CASES, HISTORY_TOLERANCE, limitsOf(ONLINE_CASES)),
);

gpuTest(
  "Convolution history that is summed online, inputs in f16 and taps in several bindings, matches the float64 reference",
  { profile: "fast", maxBindingBytes: DIVIDED_BINDING_BYTES },
  (gpu) => checkCases(onGpu(gpu, "f16", ONLINE), [DIVIDED_ONLINE_CASE], F16_HISTORY_TOLERANCE),
);

gpuTest(
  "Convolution history that is summed online by transforms matches the float64 reference",
  { profile: "fast" },
  (gpu) => checkCases(onGpu(gpu, "f32", TRANSFORMED), [TRANSFORMED_CASE], HISTORY_TOLERANCE),
);

gpuTest(
  "Convolution history that is summed online by transforms of three passes matches the float64 reference",
  { profile: "fast" },
  (gpu) => {
    const tiny = new LimitedGpu(gpu, { maxWorkgroupBytes: TINY_WORKGROUPS });
    return checkCases(onGpu(tiny, "f16", TRANSFORMED), [TRANSFORMED_CASE], F16_HISTORY_TOLERANCE);
  },
);

for (const kvType of ["f16", "i8"] as const) {
  gpuTest(
    `Convolution history in f16 matches the float64 reference (cache in ${kvType})`,
    { profile: "fast" },
    (gpu) => checkCases(onGpu(gpu, kvType), HISTORY_CASES.slice(1, 4), F16_HISTORY_TOLERANCE),
  );
}

gpuTest(
  "Convolution history whose taps take several bindings matches the float64 reference",
  { profile: "fast", maxBindingBytes: DIVIDED_BINDING_BYTES },
  (gpu) => checkCases(onGpu(gpu, "f16"), [DIVIDED_CASE], F16_HISTORY_TOLERANCE),
);

for (const numThreads of [1, 2]) {
  Deno.test(
    `Convolution history that is summed online on the CPU matches the float64 reference, ${numThreads} threads`,
    () => checkCases(onCpu(numThreads, ONLINE), [...ONLINE_CASES, TRANSFORMED_CASE], HISTORY_TOLERANCE),
  );
  Deno.test(
    `Convolution history on the CPU matches the float64 reference, ${numThreads} threads`,
    () => checkCases(onCpu(numThreads), HISTORY_CASES, HISTORY_TOLERANCE),
  );
}

/** The same text at once, in chunks and then token by token, in single tokens, and beside others. */
const CUTS: Schedule = [
  [130, 64, 1, 0, 17],
  [0, 1, 1, 63, 16],
  [0, 1, 1, 1, 64],
  [0, 1, 1, 1, 1],
  [0, 30, 1, 1, 15],
  ...Array.from({ length: 20 }, () => [0, 1, 1, 1, 0]),
  [0, 13, 105, 44, 17],
];

for (const profile of ["safe", "fast"] as const) {
  gpuTest(
    `A long convolution gives a text the same, however it is cut into steps (${profile})`,
    { profile, drawn: profile === "safe" },
    (gpu) => checkCuts(onGpu(gpu)),
  );
}
Deno.test(
  "A long convolution on the CPU gives a text the same, however it is cut into steps",
  () => checkCuts(onCpu(1)),
);

gpuTest(
  "Convolution history is shared by full blocks, and copied by rows",
  { profile: "fast" },
  (gpu) => checkSharing(onGpu(gpu)),
);
gpuTest(
  "Convolution history that is summed online is shared by full blocks, and copied by rows",
  { profile: "fast" },
  (gpu) => checkSharing(onGpu(gpu, "f32", { window: 32, square: 16 })),
);
Deno.test(
  "Convolution history that is summed online on the CPU is shared by full blocks, and copied by rows",
  () => checkSharing(onCpu(1, { window: 32, square: 16 })),
);
Deno.test(
  "Convolution history on the CPU is shared by full blocks, and copied by rows",
  () => checkSharing(onCpu(1)),
);

gpuTest("Convolution history has the same bits anywhere in a batch (safe)", {}, async (gpu) => {
  const shape = { ...HISTORY_CASES[2], schedule: [[70, 0, 70], [1, 33, 1], [40, 1, 40], [1, 1, 1]] };
  const { graph, source, limits, steps } = buildHistory(shape, new Random(testSeed()));
  const { width } = shape;
  for (const [i, { inputs: { x } }] of steps.entries()) {
    const rows = shape.schedule[i][0] * width;
    x.copyWithin(x.length - rows, 0, rows);
  }
  const outputs = await onGpu(gpu)({ graph, source, limits, steps });
  for (const [i, output] of outputs.entries()) {
    const rows = shape.schedule[i][0] * width;
    deepStrictEqual(output.slice(0, rows), output.slice(output.length - rows), `step ${i}`);
    ok(i === 0 || output.some((y) => y !== 0));
  }
});

const MISTAKES: readonly [string, (node: ConvolutionHistoryNode) => ConvolutionHistoryNode][] = [
  ["a missing gate", ({ before: _, ...node }) => node],
  ["a gate of the neighbouring channels", (node) => ({
    ...node,
    before: { ...node.before!, first: node.before!.first + 1 },
  })],
];

Deno.test("The histories' comparison notices a wrong kernel", async () => {
  const problem = buildHistory(HISTORY_CASES[3], new Random(testSeed()));
  const expected = joined(await referenceOutputs(problem));
  for (const [mistake, change] of MISTAKES) {
    const nodes = problem.graph.nodes.map((node) => node.op === "convolutionHistory" ? change(node) : node);
    const wrong = await referenceOutputs({ ...problem, graph: { ...problem.graph, nodes } });
    ok(!(relativeError(joined(wrong), expected) <= HISTORY_TOLERANCE), `${mistake} went unnoticed`);
  }
});

/** @param limits kernels have them as constants, so that tables of equal ones share what software has compiled */
async function checkCases(
  run: Run,
  cases: readonly ConvolutionHistoryCase[],
  tolerance: number,
  limits?: StepLimits,
): Promise<void> {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  for (const historyCase of cases) {
    const problem = buildHistory(historyCase, new Random(seed), limits);
    const expected = joined(await referenceOutputs(problem)), actual = joined(await run(problem));
    // Whoever has one tap has no history.
    const error = historyCase.taps > 1 ? relativeError(actual, expected) : Math.max(...actual.map(Math.abs));
    console.log(`  ${error.toExponential(1)}  ${historyCase.name}`);
    ok(error <= tolerance, `${historyCase.name}: error ${error}`);
  }
}

async function checkCuts(run: Run): Promise<void> {
  const width = 37, random = new Random(testSeed());
  const { graph, source } = buildWholeConvolution({ width, taps: 120 }, random);
  const { limits, steps } = scheduleSteps(graph, CUTS, random);
  // Every sequence has the rows of the first.
  const [whole] = steps,
    text = Object.entries(whole.inputs).map(([name, rows]) =>
      [name, rows.slice(0, CUTS[0][0] * width)] as const
    );
  for (const { batch, inputs } of steps) {
    for (const [name, rows] of text) {
      batch.positions.forEach((position, row) =>
        inputs[name].set(rows.subarray(position * width, (position + 1) * width), row * width)
      );
    }
  }
  const reference = await ReferenceExecutor.create(graph, source);
  const [first, ...rest] = steps.map((step) => reference.step(step.batch, step.inputs).output);
  const expected = first.subarray(0, CUTS[0][0] * width);
  const outputs = await run({ graph, source, limits, steps });
  for (const [i, { batch: { positions } }] of steps.entries()) {
    const wanted = new Float64Array(outputs[i].length);
    positions.forEach((position, row) =>
      wanted.set(expected.subarray(position * width, (position + 1) * width), row * width)
    );
    const scale = Math.max(...expected.map(Math.abs));
    const error = Math.max(...outputs[i].map((y, at) => Math.abs(y - wanted[at]))) / scale;
    ok(error <= 1e-5, `step ${i}: off by ${error}`);
    if (i > 0) ok(relativeError(rest[i - 1], wanted) < 1e-12, "the reference itself depends on the cut");
  }
}

async function checkSharing(run: Run): Promise<void> {
  const problem = buildSharedBlocks(new Random(testSeed()));
  const expected = await referenceOutputs({ ...problem, ...problem.uncopied }), actual = await run(problem);
  actual.slice(1).forEach((output, i) => {
    const error = relativeError(output, expected[i + 1]);
    ok(error <= HISTORY_TOLERANCE, `step ${i + 1}: error ${error}`);
  });
}

function limitsOf(cases: readonly ConvolutionHistoryCase[]): StepLimits {
  return limitsFor(cases.map(({ schedule }) => schedule));
}

async function referenceOutputs(
  { graph, source, steps }: ConvolutionHistoryProblem,
): Promise<Float64Array[]> {
  const reference = await ReferenceExecutor.create(graph, source);
  return steps.map(({ batch, inputs }) => reference.step(batch, inputs).output);
}

function onGpu(gpu: GpuDevice, kvType: "f32" | "f16" | "i8" = "f32", online?: OnlineShapeWanted): Run {
  return async ({ graph, source, limits, steps }) => {
    const options = { limits, kvType, ...(online && { online }) };
    using plan = await GpuPlan.create(gpu, graph, source, options);
    return await runSteps(steps, async ({ batch, inputs }) => (await plan.step(batch, inputs)).logits!);
  };
}

function onCpu(numThreads: number, online?: Pick<OnlineShapeWanted, "window" | "square">): Run {
  return async ({ graph, source, limits, steps }) => {
    using plan = await CpuPlan.create(graph, source, { limits, numThreads, ...(online && { online }) });
    const { width } = graph.output;
    return await runSteps(steps, async ({ batch, inputs }) => {
      const rows = new Float32Array(batch.tokenIds.length * width);
      await plan.step(batch, (index, row) => rows.set(row, index * width), inputs);
      return rows;
    });
  };
}

async function runSteps(
  steps: readonly ScheduledStep[],
  run: (step: ScheduledStep) => Promise<Float32Array>,
): Promise<Float32Array[]> {
  const outputs: Float32Array[] = [];
  for (const step of steps) outputs.push(await run(step));
  return outputs;
}
