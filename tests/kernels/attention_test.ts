// Paged attention on every GPU, in both profiles and both kinds of cache, against the float64 reference.
import { deepStrictEqual, ok } from "node:assert/strict";
import type { GpuCaps } from "../../device/caps.ts";
import type { GpuDevice } from "../../device/gpu_device.ts";
import type { KvType } from "../../kernels/attention/kv_layout.ts";
import { matrixTileTokens } from "../../kernels/attention/matrix.ts";
import { tiledTileTokens } from "../../kernels/attention/tiled.ts";
import type { AttentionNode } from "../../kernels/graph.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import { EVERY_CASE } from "../every_case.ts";
import { gpuTest, matrixUnitsTest } from "../gpus.ts";
import {
  ATTENTION_CASES,
  ATTENTION_TOLERANCE,
  type AttentionCase,
  type AttentionProblem,
  buildAttention,
  drawAttentionCases,
  HALVES_TOLERANCE,
  type HeadShape,
  randomRows,
  scheduleAttention,
  SHAPE_CASES,
} from "./attention_cases.ts";
import { LimitedGpu } from "./limited_gpu.ts";
import { MemorySource } from "./memory_source.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";

for (const profile of ["safe", "fast"] as const) {
  gpuTest(
    `Attention matches the float64 reference (${profile})`,
    { profile, drawn: profile === "safe" },
    (gpu) => checkCases(gpu, drawAttentionCases),
  );
}

/**
 * Those with a cache that matrix units may read, in rows or in tiles, copied ones too; without the largest heads:
 * parity_test.ts has such, and software compiles them for half a minute.
 */
const MATRIX_CASES = ATTENTION_CASES.filter(({ kvType, heads: [, , headSize] }) =>
  kvType === "f16" && headSize < 128
);

matrixUnitsTest("Attention matches the float64 reference", {}, (gpu) => checkCases(gpu, drawMatrixCases));

/** For software, which compiles for seconds: one of the windows, one of the shapes of nothing but their own, and all else. */
function drawMatrixCases(random: Random): readonly AttentionCase[] {
  if (EVERY_CASE) return MATRIX_CASES;
  const windows = MATRIX_CASES.filter(({ window }) => window);
  const shapes = MATRIX_CASES.filter((attentionCase) => SHAPE_CASES.includes(attentionCase));
  const rest = MATRIX_CASES.filter((one) => !windows.includes(one) && !shapes.includes(one));
  return [...rest, ...random.choose(shapes, 1), ...random.choose(windows, 1)];
}

/** So little workgroup memory that a split has fewer keys, and so fewer threads, than a key has words. */
const SMALL_WORKGROUPS = 16 * 1024;

matrixUnitsTest(
  "Attention of wide heads in small workgroups matches the float64 reference",
  {},
  async (gpu) => {
    const small = new LimitedGpu(gpu, { maxWorkgroupBytes: SMALL_WORKGROUPS });
    const decodes = [1, 1, 1, 1, 1];
    await checkCases(small, () => [{
      name: "8/1 heads of 200, f16 cache, 16 KiB",
      heads: [8, 1, 200],
      kvType: "f16",
      schedule: [[3, 17, 40, 1, 16], decodes, decodes],
    }]);
  },
);

async function checkCases(
  gpu: GpuDevice,
  draw: (random: Random) => readonly AttentionCase[],
): Promise<void> {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  for (const attentionCase of draw(new Random(seed))) {
    const problem = buildAttention(attentionCase, new Random(seed));
    const expected = await referenceOutputs(problem);
    const actual = await gpuOutputs(gpu, problem, attentionCase.kvType);
    const error = Math.max(...expected.map((output, step) => relativeError(actual[step], output)));
    console.log(`  ${error.toExponential(1)}  ${attentionCase.name}`);
    const matrixUnits = gpu.profile === "fast" && gpu.caps.matrixFragment && attentionCase.kvType === "f16";
    ok(
      error <= (matrixUnits ? HALVES_TOLERANCE : ATTENTION_TOLERANCE),
      `${attentionCase.name}: error ${error}`,
    );
  }
}

const INVARIANT_SHAPES: readonly (readonly [HeadShape, window?: number])[] = [
  [[8, 1, 64]],
  [[4, 4, 40]],
  [[16, 1, 128]],
  [[3, 3, 33]],
  [[8, 1, 64], 21],
];

/** Sequences 0, 1 and 3 are the same prompt: alone and at once, in chunks, and elsewhere in the batch in others. */
const INVARIANT_SCHEDULE = [
  [100, 0, 0, 0],
  [0, 1, 9, 17],
  [0, 16, 31, 33],
  [0, 33, 1, 49],
  [0, 49, 15, 0],
  [0, 1, 1, 1],
];

gpuTest(
  "Attention gives a prompt the same bits at once, in chunks and anywhere in a batch (safe)",
  {},
  async (gpu) => {
    const random = new Random(testSeed());
    for (const [heads, window] of INVARIANT_SHAPES) {
      const prompt = randomRows(random, heads, "plain", 100), other = randomRows(random, heads, "plain", 57);
      const rows = [prompt, prompt, other, prompt];
      const problem = scheduleAttention(heads, rows, INVARIANT_SCHEDULE, random, {
        ...(window && { window }),
      });
      const outputs = await gpuOutputs(gpu, problem, "f16");
      for (const sequence of [1, 3]) deepStrictEqual(outputOf(sequence, outputs), outputs[0]);
    }
  },
);

/** All output rows of one sequence of INVARIANT_SCHEDULE. */
function outputOf(sequence: number, outputs: readonly Float32Array[]): Float32Array {
  const width = outputs[0].length / 100;
  return Float32Array.from(outputs.flatMap((output, step) => {
    const counts = INVARIANT_SCHEDULE[step];
    const start = counts.slice(0, sequence).reduce((a, b) => a + b, 0);
    return Array.from(output.subarray(start * width, (start + counts[sequence]) * width));
  }));
}

gpuTest("Attention refuses heads that its tiles cannot hold", {}, async (gpu) => {
  const random = new Random(1);
  const problem = scheduleAttention(
    [1, 1, 260],
    [randomRows(random, [1, 1, 260], "plain", 1)],
    [[1]],
    random,
  );
  const error = await gpuOutputs(gpu, problem, "f32").then(() => undefined, (error) => error);
  ok(error instanceof RangeError && /at most 256 columns, received 260/.test(error.message), String(error));
});

Deno.test("tiledTileTokens() fills 32 packed rows with at most a block of tokens", () => {
  const tokens = ([numHeads, numKvHeads]: number[]) =>
    tiledTileTokens({ numHeads, numKvHeads } as AttentionNode);
  deepStrictEqual([[8, 8], [8, 4], [8, 1], [6, 1], [16, 1], [48, 1]].map(tokens), [16, 16, 4, 5, 2, 1]);
});

Deno.test("matrixTileTokens() serves only nodes whose workgroups the device can hold and share among its lanes", () => {
  const tokens = (headSize: number, size: number, lanes: number, maxWorkgroupBytes: number) =>
    matrixTileTokens(
      { numHeads: 16, numKvHeads: 1, headSize } as AttentionNode,
      "fast",
      {
        subgroupMaxSize: lanes,
        matrixFragment: { m: size, n: size, k: size },
        maxWorkgroupBytes,
        maxInvocations: 256,
      } as GpuCaps,
    );
  const KIB = 1024;
  deepStrictEqual(
    [[128, 16, 32, 48], [128, 16, 32, 32], [64, 16, 32, 32], [64, 16, 32, 16], [128, 16, 64, 64], [
      128,
      8,
      8,
      32,
    ]]
      .map(([headSize, size, lanes, kib]) => tokens(headSize, size, lanes, kib * KIB)),
    [4, undefined, 4, undefined, 4, 2],
  );
  // Of a fragment of 8 x 8, 32 lanes have no four each; 128 lanes are more threads than a workgroup may have.
  deepStrictEqual([tokens(64, 8, 32, 48 * KIB), tokens(64, 16, 128, 48 * KIB)], [undefined, undefined]);
});

const MISTAKES: readonly [string, (problem: AttentionProblem) => AttentionProblem][] = [
  ["another scale", (problem) => withNode(problem, (node) => ({ ...node, scale: node.scale * 1.01 }))],
  ["a window", (problem) => withNode(problem, (node) => ({ ...node, window: 60 }))],
  ["another order of heads", (problem) => withNode(problem, (node) => ({ ...node, numKvHeads: 1 }))],
  ["rows blind to themselves", (problem) => withPositions(problem, (position) => Math.max(0, position - 1))],
];

Deno.test("The attention table's comparison notices a wrong kernel", async () => {
  const attentionCase = ATTENTION_CASES.find((c) => c.name.startsWith("8/2 heads of 40"))!;
  const problem = buildAttention(attentionCase, new Random(testSeed()));
  const expected = await referenceOutputs(problem);
  for (const [mistake, change] of MISTAKES) {
    const wrong = await referenceOutputs(change(problem));
    const error = Math.max(...expected.map((output, step) => relativeError(wrong[step], output)));
    ok(error > ATTENTION_TOLERANCE, `${mistake} went unnoticed`);
  }
});

function withNode(
  problem: AttentionProblem,
  change: (node: AttentionNode) => AttentionNode,
): AttentionProblem {
  const nodes = problem.graph.nodes.map((node) => node.op === "attention" ? change(node) : node);
  return { ...problem, graph: { ...problem.graph, nodes } };
}

function withPositions(problem: AttentionProblem, change: (position: number) => number): AttentionProblem {
  const steps = problem.steps.map(({ batch, inputs }) => ({
    inputs,
    batch: { ...batch, positions: batch.positions.map(change) },
  }));
  return { ...problem, steps };
}

async function referenceOutputs({ graph, steps }: AttentionProblem): Promise<Float64Array[]> {
  const reference = await ReferenceExecutor.create(graph, new MemorySource());
  return steps.map(({ batch, inputs }) => reference.step(batch, inputs).output);
}

async function gpuOutputs(
  gpu: GpuDevice,
  { graph, limits, steps }: AttentionProblem,
  kvType: KvType,
): Promise<Float32Array[]> {
  using plan = await GpuPlan.create(gpu, graph, new MemorySource(), { limits, kvType });
  const outputs: Float32Array[] = [];
  for (const { batch, inputs } of steps) outputs.push((await plan.step(batch, inputs)).logits!);
  return outputs;
}
