// Loading models with recurrent layers: memory for their states, and what is refused.
import { deepStrictEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { loadModel } from "../../models/load_model.ts";
import type { LoadOptions } from "../../models/loaded_model.ts";
import { type RunnerSizes, stepLimits } from "../../models/step_limits.ts";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { GpuRunner } from "../../models/gpu_runner.ts";
import { GPU_PROVIDERS, gpuTest, openTestGpu } from "../gpus.ts";
import { caseFolder, type LongConvCase } from "./long_conv_cases.ts";
import { withModel } from "./recurrent_cases.ts";

const SIZES: RunnerSizes = { kvBytes: 10_000, maxBatchTokens: 64, maxSequences: 4 };
/** Three blocks of 1000 bytes are a sequence. */
const HYBRID = { contextLength: 40, kvBytesPerBlock: 1000, stateBytes: 500 };

Deno.test("stepLimits() takes a state for every sequence out of the memory for keys and values, and others to be kept", () => {
  const { numBlocks, numStateSlots } = stepLimits(SIZES, HYBRID);
  deepStrictEqual(
    [numBlocks, numStateSlots],
    [5, 4 + 5],
    "half of 10000 - 4 * 500 - 3 * 1000 are five states",
  );
  equal(stepLimits(SIZES, { ...HYBRID, stateBytes: 0 }).numBlocks, 10);
  const few = stepLimits(SIZES, HYBRID, { maxBlocks: 100, maxStateSlots: 6, keepsWithin: false });
  deepStrictEqual([few.numBlocks, few.numStateSlots], [7, 6], "a device can bind no more");
  equal(stepLimits(SIZES, HYBRID, { maxBlocks: 100, maxStateSlots: 3, keepsWithin: false }).numStateSlots, 4);
  const small = stepLimits(SIZES, { ...HYBRID, stateBytes: 1 });
  deepStrictEqual([small.numBlocks, small.numStateSlots], [9, 4 + 17], "more would be of no use");
  equal(stepLimits({ ...SIZES, kvBytes: 5000 }, HYBRID).numBlocks, 3);
  throws(
    () => stepLimits({ ...SIZES, kvBytes: 4999 }, HYBRID),
    /at least 5000 bytes, one sequence of 40 tokens and the states of 4 \(--max-sequences\), received 4999/,
  );
});

Deno.test("stepLimits() has blocks for all sequences where no layer attends, and no slots where none is recurrent", () => {
  const states = stepLimits(SIZES, { ...HYBRID, kvBytesPerBlock: 0 });
  deepStrictEqual([states.numBlocks, states.numStateSlots], [12, 4 + 16]);
  equal(stepLimits({ ...SIZES, kvBytes: 2000 }, { ...HYBRID, kvBytesPerBlock: 0 }).numBlocks, 12);
  throws(
    () => stepLimits({ ...SIZES, kvBytes: 1999 }, { ...HYBRID, kvBytesPerBlock: 0 }),
    /at least 2000 bytes/,
  );
  equal("numStateSlots" in stepLimits(SIZES, { ...HYBRID, stateBytes: 0 }), false);
});

Deno.test("stepLimits() lets a step keep all states that are wanted within its rows, where the device can", () => {
  const room = { maxBlocks: 100, maxStateSlots: 100, keepsWithin: true };
  const sizes = { ...SIZES, maxBatchTokens: 2048 };
  equal(stepLimits(sizes, HYBRID, room).maxKeptStates, 2048 / 256 + 3 * 4);
  equal("maxKeptStates" in stepLimits(sizes, HYBRID, { ...room, keepsWithin: false }), false);
  equal("maxKeptStates" in stepLimits(sizes, { ...HYBRID, stateBytes: 0 }, room), false);
});

Deno.test("stepLimits() leaves host memory alone where blocks have nothing in them", () => {
  const sizes = { ...SIZES, hostBytes: 50_000 };
  equal(stepLimits(sizes, HYBRID).numHostBlocks, 50);
  equal(stepLimits(sizes, { ...HYBRID, kvBytesPerBlock: 0 }).numHostBlocks, 0);
  equal(stepLimits(sizes, { ...HYBRID, stateBytes: 0 }).numHostBlocks, 50);
});

for (const device of ["cpu", ...GPU_PROVIDERS] as const) {
  Deno.test(`loadModel() makes room for as many states as sequences run at once [${device}]`, async () => {
    if (device !== "cpu") {
      using gpu = await openTestGpu(device);
      if (!gpu) return;
    }
    // Of two layers of 8 channels, 63 inputs and 32 complex modes each.
    const stateBytes = 2 * 8 * (63 + 2 * 32) * 4;
    await using runner = (await loadModel({ ...options("h3-attention"), device, maxSequences: 5 })).runner;
    equal(runner.stateBytes, stateBytes);
    // Others for what is kept: one for every 256 tokens that five sequences may have, and four for each of these.
    equal(runner.limits.numStateSlots, 5 + 5 * 2048 / 256 + 4 * 5);
    equal((runner.limits.maxKeptStates ?? 0) > 0, device !== "cpu");
  });
}

const REFUSED: readonly [
  what: string,
  fixture: LongConvCase,
  options: Partial<LoadOptions>,
  error: RegExp,
][] = [
  ["onnxruntime", "h3-attention", { device: "onnx" }, /has no ONNX form; take another device/],
  ["too little memory", "h3-attention", { kvBytes: 2 ** 17 }, /and the states of 16 \(--max-sequences\)/],
];

for (const [what, fixture, more, error] of REFUSED) {
  Deno.test(`loadModel() refuses ${what}`, async () => {
    await rejects(loadModel({ ...options(fixture), ...more }), error);
  });
}

Deno.test("loadModel() refuses host memory for a model whose layers keep states alone [webgpu]", async () => {
  using gpu = await openTestGpu("webgpu");
  if (!gpu) return;
  await withModel("hyena-modal", async ({ modelDir }) => {
    const load = { modelDir, device: "webgpu", profile: "safe" } as const;
    await rejects(loadModel({ ...load, hostBytes: 2 ** 20 }), /--host-cache-memory is for blocks/);
    await using runner = (await loadModel({ ...load, hostBytes: 0 })).runner;
    equal(runner.limits.numHostBlocks, 0);
  });
});

gpuTest(
  "GpuRunner measures what parking a hybrid's blocks costs, and has host memory where it pays",
  {},
  async (gpu) => {
    using checkpoint = await openCheckpoint(caseFolder("h3-attention"));
    const { network, tensors } = checkpoint;
    await using runner = await GpuRunner.create(gpu, network.graph, tensors, {
      ...{ contextLength: network.contextLength, suppressed: [], kvType: "f32", kvBytes: 2 ** 22 },
      ...{ maxBatchTokens: 64, maxSequences: 2, hostBytes: 2 ** 20, measureParking: true },
    });
    ok([0, 2 ** 20 / runner.kvBytesPerBlock].includes(runner.limits.numHostBlocks!));
  },
);

function options(fixture: LongConvCase) {
  return { modelDir: caseFolder(fixture), device: "cpu", profile: "safe" } as const;
}
