// What a profile says of a step: every dispatch of it with its time, and work that is the step's, whichever forms do it.
import { deepEqual, equal, ok } from "node:assert/strict";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import type { StepBatch } from "../../kernels/step.ts";
import type { DispatchTime, StepProfile } from "../../kernels/step_profile.ts";
import { gpuTest, matrixUnitsTest } from "../gpus.ts";
import { Random, testSeed } from "./random.ts";
import { buildTwoLayers, stepOf, TWO_LAYERS } from "./two_layers.ts";

const STEPS: Record<string, StepBatch> = {
  "one decode": stepOf([20], [1]),
  "six decodes": stepOf([20, 3, 33, 16, 15, 47], [1, 1, 1, 1, 1, 1]),
  "a prompt": stepOf([0], [30]),
  "a chunk and decodes": stepOf([17, 5, 40], [20, 1, 1]),
};
const CASES = [
  { profile: "safe" },
  { profile: "fast" },
  { profile: "fast", maxBindingBytes: 40_000 },
] as const;

for (const options of CASES) {
  const limited = "maxBindingBytes" in options ? ", sharded" : "";
  gpuTest(`GpuPlan.profile() counts the step's FLOP (${options.profile}${limited})`, options, checkFlop);
}
matrixUnitsTest("GpuPlan.profile() counts the step's FLOP", {}, checkFlop);

matrixUnitsTest("GpuPlan.profile() says which dispatches are on matrix units", {}, async (gpu) => {
  const [decode, labels] = (await profilesOf(gpu, [STEPS["one decode"], STEPS["a prompt"]]))
    .map(({ dispatches }) =>
      dispatches.filter(({ work }) => work!.units === "matrix").map(({ label }) => label)
    );
  deepEqual(decode, []);
  ok(
    labels.some((label) => label.startsWith("linear")) &&
      labels.some((label) => label.startsWith("attention")),
  );
  ok(labels.every((label) => label.includes("matrix units")));
});

async function checkFlop(gpu: GpuDevice): Promise<void> {
  const profiles = await profilesOf(gpu, Object.values(STEPS));
  Object.entries(STEPS).forEach(([name, batch], i) => {
    const { dispatches } = profiles[i];
    deepEqual(dispatches.filter(({ work }) => !work), []);
    equal(dispatches.reduce((sum, { work }) => sum + work!.flop, 0), flopOf(batch), name);
  });
}

gpuTest("GpuPlan.profile() counts each byte of a dispatch once", { profile: "safe" }, async (gpu) => {
  const { width, numHeads, headSize, innerWidth } = TWO_LAYERS;
  const [{ dispatches }] = await profilesOf(gpu, [STEPS["a chunk and decodes"]]);
  const rows = 22, keys = 37 + 6 + 41;
  const bytesOf = (label: string) => dispatches.find((dispatch) => dispatch.label === label)!.work!.bytes;
  equal(bytesOf("linear h.1.fc.weight"), 2 * width * innerWidth + 4 * rows * (width + innerWidth));
  equal(bytesOf("linear h.1.back.weight"), 2 * width * innerWidth + 4 * rows * (innerWidth + 2 * width));
  equal(bytesOf("attention 1 tiled"), keys * 2 * headSize * 2 + 2 * rows * numHeads * headSize * 4);
  equal(bytesOf("attention 1 store"), rows * 2 * headSize * (4 + 2));
  equal(bytesOf("embedding wte.weight"), rows * width * (4 + 2 + 2));
});

gpuTest("GpuPlan.profile() times dispatches in order, and after them empty ones", {}, async (gpu) => {
  const [{ start, dispatches, empty }] = await profilesOf(gpu, [STEPS["a prompt"]]);
  ok(start > 0n);
  equal(dispatches[0].begin, 0);
  equal(dispatches[0].label, "embedding wte.weight");
  equal(dispatches.at(-1)!.label, "sampling greedy");
  ok(empty.length > 0);
  const all: DispatchTime[] = [...dispatches, ...empty];
  all.forEach(({ label, begin, end }, i) => {
    ok(begin <= end, label);
    ok(i === 0 || begin >= all[i - 1].begin, label);
  });
});

async function profilesOf(gpu: GpuDevice, batches: readonly StepBatch[]): Promise<StepProfile[]> {
  const { graph, source, limits } = buildTwoLayers(new Random(testSeed()));
  using plan = await GpuPlan.create(gpu, graph, source, {
    limits,
    kvType: "f16",
    sampling: { suppressed: [] },
  });
  const profiles: StepProfile[] = [];
  for (const batch of batches) profiles.push(await plan.profile(batch));
  return profiles;
}

/** Of the products and of attention, both layers. */
function flopOf({ tokenIds, positions, samples }: StepBatch): number {
  const { width, innerWidth, numHeads, headSize, vocabSize } = TWO_LAYERS;
  const products = (width + 2 * headSize) * width + width * width + 2 * width * innerWidth;
  const pairs = positions.reduce((sum, position) => sum + position + 1, 0);
  return 2 * (2 * tokenIds.length * products + 4 * pairs * numHeads * headSize) +
    2 * samples.length * width * vocabSize;
}
