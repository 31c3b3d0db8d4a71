// What was parked in host memory gives the same tokens as what never left the GPU, on a real network.
import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { LocalEngine } from "../../engine/local_engine.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import type { GpuDevice } from "../../device/gpu_device.ts";
import { GpuPlan } from "../../kernels/gpu_plan.ts";
import type { StepLimits } from "../../kernels/step.ts";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { GpuRunner } from "../../models/gpu_runner.ts";
import { loadModel } from "../../models/load_model.ts";
import { defaultHostBytes, requireHostBytes } from "../../models/host_memory.ts";
import type { LoadOptions } from "../../models/loaded_model.ts";
import { measureParking, parkingPays } from "../../models/parking_cost.ts";
import { stepLimits } from "../../models/step_limits.ts";
import { readyEngine } from "../engine/ready_engine.ts";
import { GPU_PROVIDERS, gpuTest, isDrawn, openTestGpu } from "../gpus.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { CHUNKED } from "./shared_sizes.ts";

const MODEL_DIR = fileURLToPath(new URL("../fixtures/checkpoints/mqa-d40-f32", import.meta.url));
const CONTEXT = 192;
/** K and V of 2 layers, one head of 40 f32. */
const TOKEN_BYTES = 2 * 2 * 40 * 4;

async function openEngine(options: Partial<LoadOptions>): Promise<LocalEngine> {
  return await readyEngine({
    modelId: "fixture",
    typeThrough: false,
    openModel: (onProgress) =>
      loadModel({
        modelDir: MODEL_DIR,
        device: "auto",
        profile: "safe",
        ...CHUNKED,
        ...options,
      }, onProgress),
  });
}

async function tokensOf(engine: LocalEngine, request: GenerationRequest): Promise<number[]> {
  const events = await Array.fromAsync(engine.submit(request));
  return events.filter((event) => event.kind === "token").map(({ id }) => id);
}

/** Files that are asked about in turns, each time with some text more, several at once, now and then cancelled. */
async function askInTurns(engine: LocalEngine, random: Random): Promise<number[][]> {
  const files = Array.from(
    { length: 6 },
    () => [...random.integers(20 + random.below(80), 250)].map((id) => id + 5),
  );
  const answers: number[][] = [];
  for (let turn = 0; turn < 8; turn++) {
    const asked = Array.from({ length: 4 }, (_, k) => {
      const file = files[random.below(files.length)];
      if (file.length < 130) {
        file.push(...[...random.integers(1 + random.below(20), 250)].map((id) => id + 5));
      }
      const sampled = random.below(2) === 1;
      return {
        prompt: { kind: "tokens" as const, ids: [...file] },
        maxTokens: 1 + random.below(24),
        temperature: sampled ? 0.9 : 0,
        seed: turn * 4 + k,
        ignoreEos: true,
      };
    });
    const leaving = engine.submit({ ...asked[0], seed: 1 })[Symbol.asyncIterator]();
    await leaving.next();
    answers.push(...await Promise.all(asked.map((request) => tokensOf(engine, request))));
    await leaving.return!();
  }
  return answers;
}

for (const device of GPU_PROVIDERS) {
  // How blocks are moved is tested on both providers in host_blocks_test.ts.
  const name = "a small cache with host memory gives the tokens of a large one";
  Deno.test({ name: `${name} [${device}]`, ignore: !isDrawn(name, device) }, async () => {
    using gpu = await openTestGpu(device);
    if (!gpu) return;
    const seed = testSeed();
    console.log(`  seed ${seed}`);
    await using large = await openEngine({ device, kvBytes: 20 * CONTEXT * TOKEN_BYTES, hostBytes: 0 });
    const expected = await askInTurns(large, new Random(seed));
    strictEqual((await large.stats()).hostBlocks, 0);
    for (const hostContexts of [1, 20]) {
      await using small = await openEngine({
        device,
        kvBytes: CONTEXT * TOKEN_BYTES,
        hostBytes: hostContexts * CONTEXT * TOKEN_BYTES,
      });
      deepStrictEqual(await askInTurns(small, new Random(seed)), expected);
      const { hostBlocks, parks, unparks, parkedBlocks, freeBlocks, totalBlocks, preemptions } = await small
        .stats();
      console.log(`  ${parks} blocks parked, ${unparks} brought back, ${preemptions} preemptions`);
      ok(parks > 50 && unparks > 8, "too tame");
      deepStrictEqual([hostBlocks, freeBlocks], [hostContexts * CONTEXT / 16, totalBlocks]);
      ok(parkedBlocks <= hostBlocks);
      await new Promise((resolve) => setTimeout(resolve, 1)); // The engine checks its cache when idle.
      strictEqual(small.state.phase, "ready");
    }
  });
}

/** A plan of the fixture, and its limits. */
async function withPlan(
  gpu: GpuDevice,
  body: (plan: GpuPlan, limits: StepLimits) => Promise<void>,
): Promise<void> {
  using checkpoint = await openCheckpoint(MODEL_DIR);
  const { network, tensors, suppressedTokens: suppressed } = checkpoint;
  const sizes = { ...CHUNKED, kvBytes: 2 ** 22, hostBytes: 2 ** 20 };
  const model = { contextLength: network.contextLength, kvBytesPerBlock: 16 * TOKEN_BYTES, stateBytes: 0 };
  const limits = stepLimits(sizes, model);
  using plan = await GpuPlan.create(gpu, network.graph, tensors, {
    limits,
    kvType: "f32",
    sampling: { suppressed },
  });
  await body(plan, limits);
}

gpuTest("measureParking() takes the time of both ways of getting a block", {}, async (gpu) => {
  await withPlan(gpu, async (plan, limits) => {
    const { move, compute } = await measureParking(plan, limits);
    console.log(
      `  a block: ${(move * 1e6).toFixed(0)} us to move, ${(compute * 1e6).toFixed(0)} us to compute`,
    );
    ok(move > 0 && move < Infinity && compute > 0 && compute < Infinity);
  });
});

gpuTest("GpuRunner has host memory only where parking pays, if that is to be measured", {}, async (gpu) => {
  using checkpoint = await openCheckpoint(MODEL_DIR);
  const { network, tensors, suppressedTokens: suppressed } = checkpoint;
  await using runner = await GpuRunner.create(gpu, network.graph, tensors, {
    contextLength: network.contextLength,
    suppressed,
    kvType: "f32",
    kvBytes: 2 ** 22,
    ...CHUNKED,
    hostBytes: 2 ** 20,
    measureParking: true,
  });
  ok([0, Math.floor(2 ** 20 / (16 * TOKEN_BYTES))].includes(runner.limits.numHostBlocks!));
});

Deno.test("parkingPays() says which way is cheaper", () => {
  strictEqual(parkingPays({ move: 1, compute: 2 }), true);
  strictEqual(parkingPays({ move: 2, compute: 1 }), false);
});

Deno.test("host memory: none on the CPU and where software plays a GPU, unless it is asked for", async () => {
  {
    await using engine = await openEngine({ device: "cpu" });
    strictEqual((await engine.stats()).hostBlocks, 0);
  }
  await openEngine({ device: "cpu", hostBytes: 2 ** 20 }).then(
    () => ok(false, "it must be refused"),
    ({ message }: Error) => ok(/--host-cache-memory is for GPUs.*--kv-memory/.test(message), message),
  );
});

Deno.test("host memory: a quarter of what is free, 4 GiB at most; what is asked for must be there", () => {
  strictEqual(defaultHostBytes(2 ** 32), 2 ** 30);
  strictEqual(defaultHostBytes(2 ** 40), 2 ** 32);
  strictEqual(requireHostBytes(1000, 1000), 1000);
  throws(() => requireHostBytes(1001, 1000), /--host-cache-memory must be at most 1000 bytes.*received 1001/);
  ok(defaultHostBytes() > 0);
});
