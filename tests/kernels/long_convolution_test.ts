// Long convolutions on every GPU, in both profiles, against the float64 reference.
import { deepStrictEqual, ok } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import type { LongConvolutionNode } from "../../kernels/graph.ts";
import { sizeClasses } from "../../kernels/long_convolution/sizes.ts";
import { workgroupFft } from "../../kernels/long_convolution/workgroup_fft.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import type { StepLimits } from "../../kernels/step.ts";
import { gpuTest } from "../gpus.ts";
import {
  buildLongConvolution,
  LONG_CONVOLUTION_CASES,
  LONG_CONVOLUTION_TOLERANCE,
  type LongConvolutionCase,
  type LongConvolutionProblem,
  LONGEST_CASES,
  PASSES_CASES,
} from "./long_convolution_cases.ts";
import { LimitedGpu } from "./limited_gpu.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";
import { joined, limitsFor } from "./scheduled_steps.ts";

for (const profile of ["safe", "fast"] as const) {
  gpuTest(
    `Long convolution matches the float64 reference (${profile})`,
    { profile, drawn: profile === "safe" },
    (gpu) => checkCases(gpu, LONG_CONVOLUTION_CASES),
  );
}

gpuTest(
  "Long convolution of the longest sequences matches the float64 reference",
  { profile: "fast" },
  (gpu) => checkCases(gpu, LONGEST_CASES),
);

/** So little that real and imaginary parts change threads one after the other, for 4096 tokens without padding. */
const SMALL_WORKGROUPS = 16 * 1024;

gpuTest(
  "Long convolution in small workgroups matches the float64 reference",
  { profile: "fast" },
  async (gpu) => {
    const small = new LimitedGpu(gpu, { maxWorkgroupBytes: SMALL_WORKGROUPS });
    const cases = LONG_CONVOLUTION_CASES.filter(({ taps }) => taps >= 2000);
    await checkCases(small, cases, limitsOf(LONG_CONVOLUTION_CASES));
  },
);

/** So little that a row of the three passes has 256 points: columns of 4 to 32 then make 512 to 4096 tokens. */
const TINY_WORKGROUPS = 2 * 1024 + 512;

gpuTest(
  "Long convolution in three passes matches the float64 reference",
  { profile: "fast" },
  async (gpu) => {
    const tiny = new LimitedGpu(gpu, { maxWorkgroupBytes: TINY_WORKGROUPS });
    await checkCases(tiny, PASSES_CASES);
  },
);

gpuTest(
  "Long convolution whose spectra take several bindings matches the float64 reference",
  { profile: "fast", maxBindingBytes: 200_000 },
  (gpu) => checkCases(gpu, [LONG_CONVOLUTION_CASES[2]]),
);

gpuTest("Long convolution lets no token see those after it", {}, async (gpu) => {
  const limits = limitsOf(LONG_CONVOLUTION_CASES);
  const problem = buildLongConvolution(LONG_CONVOLUTION_CASES[2], new Random(testSeed()), limits);
  const { width } = LONG_CONVOLUTION_CASES[2], [{ batch, inputs }] = problem.steps;
  const last = inputs.x.length - width, changed = inputs.x.slice();
  for (let at = last; at < changed.length; at++) changed[at] += 100;
  const [before, after] = await gpuOutputs(gpu, {
    ...problem,
    steps: [{ batch, inputs }, { batch, inputs: { ...inputs, x: changed } }],
  });
  const scale = Math.max(...after.map(Math.abs));
  const difference = (from: number, to: number) =>
    Math.max(...after.subarray(from, to).map((x, i) => Math.abs(x - before[from + i]))) / scale;
  ok(difference(0, last) <= LONG_CONVOLUTION_TOLERANCE, `earlier tokens change by ${difference(0, last)}`);
  ok(difference(last, after.length) > 0.01, "the last token does not change");
});

const MISTAKES: readonly [string, (node: LongConvolutionNode) => LongConvolutionNode][] = [
  ["a missing gate", ({ after: _, ...node }) => node],
  ["gates exchanged", (node) => ({ ...node, before: node.after!, after: node.before! })],
  ["nothing carried", ({ carried: _, ...node }) => node],
];

Deno.test("The long convolutions' comparison notices a wrong kernel", async () => {
  const problem = buildLongConvolution(LONG_CONVOLUTION_CASES[1], new Random(testSeed()));
  const [expected] = await referenceOutputs(problem);
  for (const [mistake, change] of MISTAKES) {
    const nodes = problem.graph.nodes.map((node) => node.op === "longConvolution" ? change(node) : node);
    const [wrong] = await referenceOutputs({ ...problem, graph: { ...problem.graph, nodes } });
    ok(relativeError(wrong, expected) > LONG_CONVOLUTION_TOLERANCE, `${mistake} went unnoticed`);
  }
});

Deno.test("sizeClasses() covers every length once, in ever larger steps", () => {
  deepStrictEqual(sizeClasses(1), [{ fewest: 1, most: 64 }]);
  deepStrictEqual(sizeClasses(3000), [
    { fewest: 1, most: 64 },
    { fewest: 65, most: 256 },
    { fewest: 257, most: 1024 },
    { fewest: 1025, most: 2048 },
    { fewest: 2049, most: 4096 },
  ]);
});

Deno.test("workgroupFft() takes the arrangement that the device holds", () => {
  const arranged = (points: number, kib: number, maxInvocations = 1024) => {
    const fft = workgroupFft(points, { maxWorkgroupBytes: kib * 1024, maxInvocations });
    return fft && [fft.threads, fft.radices.join(" "), fft.split, fft.padded];
  };
  deepStrictEqual([arranged(2048, 16), arranged(2048, 32)], [
    [256, "8 8 8 4", false, false],
    [256, "8 8 8 4", false, true],
  ]);
  deepStrictEqual([arranged(4096, 16), arranged(4096, 48), arranged(8192, 32), arranged(8192, 48)], [
    [256, "16 16 16", true, false],
    [256, "16 16 16", false, true],
    [512, "16 16 8 4", true, false],
    [512, "16 16 8 4", true, true],
  ]);
  deepStrictEqual([arranged(8192, 16), arranged(8192, 48, 256)], [undefined, undefined]);
});

/** @param limits kernels have them as constants, so that tables of equal ones share what software has compiled */
async function checkCases(
  gpu: GpuDevice,
  cases: readonly LongConvolutionCase[],
  limits = limitsOf(cases),
): Promise<void> {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  for (const convolutionCase of cases) {
    const problem = buildLongConvolution(convolutionCase, new Random(seed), limits);
    const expected = await referenceOutputs(problem);
    const actual = await gpuOutputs(gpu, problem);
    const error = relativeError(joined(actual), joined(expected));
    console.log(`  ${error.toExponential(1)}  ${convolutionCase.name}`);
    ok(error <= LONG_CONVOLUTION_TOLERANCE, `${convolutionCase.name}: error ${error}`);
  }
}

function limitsOf(cases: readonly LongConvolutionCase[]): StepLimits {
  return limitsFor(cases.map(({ schedule }) => schedule));
}

async function referenceOutputs({ graph, source, steps }: LongConvolutionProblem): Promise<Float64Array[]> {
  const reference = await ReferenceExecutor.create(graph, source);
  return steps.map(({ batch, inputs }) => reference.step(batch, inputs).output);
}

async function gpuOutputs(gpu: GpuDevice, problem: LongConvolutionProblem): Promise<Float32Array[]> {
  const { graph, source, limits, steps } = problem;
  using plan = await GpuPlan.create(gpu, graph, source, { limits, kvType: "f32" });
  const outputs: Float32Array[] = [];
  for (const { batch, inputs } of steps) outputs.push((await plan.step(batch, inputs)).logits!);
  return outputs;
}
