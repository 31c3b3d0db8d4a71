// An attention whose splits the linear after it joins itself, in steps of one row: over short contexts, and over long ones
// where it reads what a dispatch of its own has joined, against the float64 reference. And one whose output that dispatch
// leaves as whole numbers, where its heads are whole fours.
import { ok } from "node:assert/strict";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import { ReferenceExecutor } from "../../kernels/reference.ts";
import type { TensorDtype } from "../../kernels/tensor_source.ts";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { gpuTest, matrixUnitsTest } from "../gpus.ts";
import { type HeadShape, randomRows, scheduleAttention } from "./attention_cases.ts";
import { MemorySource } from "./memory_source.ts";
import { Random, testSeed } from "./random.ts";
import { relativeError } from "./relative_error.ts";

/** Of the two sequences one goes past 1024 tokens, a token at a time where readers stop to join splits. */
const SCHEDULE = [
  [1, 0],
  [1, 0],
  [61, 0],
  [1, 0],
  [1, 0],
  [510, 3],
  [1, 0],
  [1, 1],
  [446, 0],
  [1, 0],
  [1, 0],
  [1, 0],
];
interface MergeCase {
  readonly heads: HeadShape;
  readonly storage: TensorDtype;
  readonly bias: boolean;
  readonly residual: boolean;
  readonly schedule: number[][];
}

const CASES: readonly MergeCase[] = [
  { heads: [2, 1, 32], storage: "F16", bias: true, residual: false, schedule: SCHEDULE },
  { heads: [3, 3, 12], storage: "I8", bias: false, residual: true, schedule: SCHEDULE },
  { heads: [4, 1, 16], storage: "I4", bias: true, residual: true, schedule: SCHEDULE },
];
const SHORT_SCHEDULE = [[1, 0], [1, 0], [66, 0], [1, 0], [1, 3], [1, 1], [0, 1]];
/** Wider than a linear joins, and of heads that are no whole fours. */
const LEFT_CASES: readonly MergeCase[] = [
  { heads: [33, 1, 64], storage: "I4", bias: true, residual: true, schedule: SHORT_SCHEDULE },
  { heads: [16, 4, 10], storage: "I8", bias: true, residual: true, schedule: SHORT_SCHEDULE },
];
/**
 * On matrix units, whose splits begin with the token's own key and value. The other sequence is long first, so that a split
 * that is not written holds what weighs something.
 */
const TILES_SCHEDULE = [
  [0, 200],
  [0, 1],
  [0, 1],
  [1, 0],
  [1, 0],
  [61, 0],
  [1, 0],
  [1, 0],
  [1, 0],
  [61, 0],
  [1, 0],
  [1, 0],
  [1, 0],
  [447, 0],
  [1, 0],
  [1, 0],
  [1, 0],
  [445, 0],
  [1, 0],
  [1, 0],
  [1, 0],
  [1, 1],
];
const TILES_CASES: readonly MergeCase[] = [
  { heads: [8, 1, 16], storage: "F16", bias: true, residual: false, schedule: TILES_SCHEDULE },
  { heads: [16, 1, 16], storage: "I8", bias: false, residual: true, schedule: TILES_SCHEDULE },
  { heads: [16, 2, 32], storage: "I4", bias: true, residual: true, schedule: TILES_SCHEDULE },
];
/** Softmax in f32 over a thousand keys; for int4, of x in whole numbers. */
const TOLERANCE = 5e-5;
/** Where matrix units read x in steps of many rows, or keys and values, rounded to f16. */
const HALVES_TOLERANCE = 2e-3;

gpuTest("A linear joins the splits of the attention before it, and matches the float64 reference", {
  profile: "fast",
}, (gpu) => checkCases(gpu, CASES));

matrixUnitsTest(
  "A linear in int4 or int8 reads what an attention leaves it as whole numbers, and matches the float64 reference",
  {},
  (gpu) => checkCases(gpu, LEFT_CASES),
);

matrixUnitsTest(
  "A linear joins the splits that matrix units leave, and matches the float64 reference",
  {},
  (gpu) => checkCases(gpu, TILES_CASES, "f16"),
);

async function checkCases(
  gpu: GpuDevice,
  cases: readonly MergeCase[],
  kvType: "f32" | "f16" = "f32",
): Promise<void> {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  for (const { heads, storage, bias, residual, schedule } of cases) {
    const random = new Random(seed);
    const totals = [0, 1].map((s) => schedule.reduce((sum, counts) => sum + counts[s], 0));
    const rows = totals.map((total) => randomRows(random, heads, "plain", total));
    const { limits, steps } = scheduleAttention(heads, rows, schedule, random);
    const [numHeads, numKvHeads, headSize] = heads, width = numHeads * headSize;
    const source = new MemorySource(), builder = new GraphBuilder();
    const weight = source.add(
      "weight",
      [width, width],
      random.normals(width * width, 0, width ** -0.5),
      storage,
    );
    const x = builder.input("x", (numHeads + 2 * numKvHeads) * headSize);
    const before = residual ? builder.input("residual", width) : undefined;
    const attended = builder.attention(x, { numHeads, numKvHeads, headSize, scale: headSize ** -0.5 });
    const graph = builder.build(builder.linear(attended, weight, {
      ...(bias && { bias: source.add("bias", [width], random.normals(width)) }),
      ...(before && { residual: before }),
    }));
    const inputsOf = steps.map(({ batch, inputs }) => ({
      ...inputs,
      ...(before && { residual: random.normals(batch.tokenIds.length * width) }),
    }));
    const reference = await ReferenceExecutor.create(graph, source);
    using plan = await GpuPlan.create(gpu, graph, source, { limits, kvType });
    let largest = 0;
    for (const [step, { batch }] of steps.entries()) {
      const expected = reference.step(batch, inputsOf[step]).output;
      const actual = (await plan.step(batch, inputsOf[step])).logits!;
      const error = relativeError(actual, expected);
      largest = Math.max(largest, error);
      const halves = kvType === "f16" || (gpu.caps.matrixFragment && batch.tokenIds.length > 4);
      ok(
        error <= (halves ? HALVES_TOLERANCE : TOLERANCE),
        `${storage}, context ${batch.contextLengths}: error ${error}`,
      );
    }
    console.log(`  ${largest.toExponential(1)}  ${heads} heads, ${storage}`);
  }
}
