// A real GPUDevice goes away under the real engine: requests in flight end with an error that says so, the model is
// opened anew, and what is asked afterwards is answered as before.
import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { GpuDevice } from "../../device/gpu_device.ts";
import type { EngineState } from "../../engine/engine.ts";
import { EngineUnavailableError } from "../../engine/errors.ts";
import { LocalEngine } from "../../engine/local_engine.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { openCheckpoint } from "../../models/checkpoint.ts";
import { GpuRunner } from "../../models/gpu_runner.ts";
import type { LoadedModel } from "../../models/loaded_model.ts";
import type { RunnerSizes } from "../../models/step_limits.ts";
import { GPU_PROVIDERS, openTestGpu } from "../gpus.ts";

const MODEL_DIR = fileURLToPath(new URL("../fixtures/checkpoints/mqa-d40-f32", import.meta.url));

const REQUEST: GenerationRequest = {
  prompt: { kind: "tokens", ids: Array.from({ length: 21 }, (_, k) => 5 + k * 37 % 250) },
  maxTokens: 40,
  temperature: 0.9,
  seed: 7,
  ignoreEos: true,
};

/** An engine whose devices the test holds as well, the present one last. */
class LosableEngine implements AsyncDisposable {
  readonly engine: LocalEngine;
  readonly devices: GpuDevice[] = [];
  readonly phases: EngineState["phase"][] = [];
  #changed = Promise.withResolvers<void>();

  constructor(
    provider: typeof GPU_PROVIDERS[number],
    first: GpuDevice,
    maxSequences: number,
    memory: Partial<RunnerSizes> = {},
  ) {
    this.devices.push(first);
    let next: GpuDevice | undefined = first;
    this.engine = new LocalEngine({
      modelId: "fixture",
      reopenDelaysMs: [0],
      openModel: async () => {
        const gpu: GpuDevice = next ?? (await openTestGpu(provider))!;
        if (!next) this.devices.push(gpu);
        next = undefined;
        return await openModel(gpu, maxSequences, memory);
      },
      onState: ({ phase }) => {
        if (this.phases.at(-1) !== phase) this.phases.push(phase);
        this.#changed.resolve();
        this.#changed = Promise.withResolvers();
      },
    });
  }

  /** Waits until `times` devices have been ready. */
  async ready(times: number): Promise<void> {
    while (this.phases.filter((phase) => phase === "ready").length < times) {
      ok(!this.phases.includes("failed"), "the engine has failed");
      await this.#changed.promise;
    }
  }

  lose() {
    this.devices.at(-1)!.device.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine[Symbol.asyncDispose]();
  }
}

async function openModel(
  gpu: GpuDevice,
  maxSequences: number,
  memory: Partial<RunnerSizes>,
): Promise<LoadedModel> {
  using checkpoint = await openCheckpoint(MODEL_DIR);
  const { network, tensors, suppressedTokens } = checkpoint;
  const runner = await GpuRunner.create(gpu, network.graph, tensors, {
    contextLength: network.contextLength,
    suppressed: suppressedTokens,
    kvType: "f32",
    kvBytes: 2 ** 22,
    maxBatchTokens: 64,
    maxSequences,
    ...memory,
  });
  const { architecture, fileFormat, numParameters, weightBytes, eosTokenId, tokenizer } = checkpoint;
  return {
    runner,
    architecture,
    fileFormat,
    contextLength: network.contextLength,
    vocabSize: network.vocabSize,
    width: network.width,
    numParameters,
    weightBytes,
    backend: gpu.caps.provider,
    adapter: gpu.caps.adapter,
    eosTokenId,
    suppressedTokens,
    tokenizer,
  };
}

async function complete(engine: LocalEngine, request = REQUEST, onToken = (_count: number) => {}) {
  const ids: number[] = [];
  for await (const event of engine.submit(request)) {
    if (event.kind === "token") onToken(ids.push(event.id));
  }
  return ids;
}

async function assertAllFree(engine: LocalEngine): Promise<void> {
  const { waiting, running, freeBlocks, totalBlocks } = await engine.stats();
  deepStrictEqual({ waiting, running, freeBlocks }, { waiting: 0, running: 0, freeBlocks: totalBlocks });
}

function isDeviceLost(error: unknown): boolean {
  ok(error instanceof EngineUnavailableError, `received ${error}`);
  strictEqual(error.reason, "device_lost");
  ok(/device was lost.*can be sent again/.test(error.message), error.message);
  return true;
}

for (const provider of GPU_PROVIDERS) {
  Deno.test(`LocalEngine outlives a device lost amid decoding [${provider}]`, async () => {
    const gpu = await openTestGpu(provider);
    if (!gpu) return;
    await using losable = new LosableEngine(provider, gpu, 1);
    const { engine } = losable;
    await losable.ready(1);
    const before = await complete(engine);
    const struck = complete(engine, REQUEST, (count) => count === 3 && losable.lose());
    const queued = complete(engine); // One sequence runs at a time: no step has worked on this one.
    await rejects(struck, isDeviceLost);
    deepStrictEqual(await queued, before, "a request that waited is answered by the new device");
    deepStrictEqual(await complete(engine), before);
    deepStrictEqual(losable.phases, ["ready", "rebuilding", "ready"]);
    await assertAllFree(engine);
  });

  Deno.test(`LocalEngine outlives devices lost while idle and again and again [${provider}]`, async () => {
    const gpu = await openTestGpu(provider);
    if (!gpu) return;
    await using losable = new LosableEngine(provider, gpu, 4);
    const { engine } = losable;
    await losable.ready(1);
    const before = await complete(engine);
    losable.lose();
    await losable.ready(2);
    deepStrictEqual(await complete(engine), before);
    const struck = Array.from(
      { length: 4 },
      (_, i) => complete(engine, REQUEST, (count) => i === 0 && count === 1 && losable.lose()),
    );
    for (const result of await Promise.allSettled(struck)) {
      ok(result.status === "rejected" && isDeviceLost(result.reason));
    }
    await losable.ready(3);
    deepStrictEqual(await complete(engine), before);
    await assertAllFree(engine);
  });

  Deno.test(`LocalEngine loses with the device what was parked of it, and parks anew [${provider}]`, async () => {
    const gpu = await openTestGpu(provider);
    if (!gpu) return;
    // One context of 192 tokens on the device: each prompt takes the place of the one before.
    const contextBytes = 192 * 2 * 2 * 40 * 4;
    const memory = { kvBytes: contextBytes, hostBytes: 4 * contextBytes };
    await using losable = new LosableEngine(provider, gpu, 1, memory);
    const { engine } = losable;
    await losable.ready(1);
    const requests = [0, 1, 2].map((first): GenerationRequest => ({
      ...REQUEST,
      prompt: { kind: "tokens", ids: Array.from({ length: 100 }, (_, k) => 5 + (first + k * 37) % 250) },
      maxTokens: 4,
    }));
    const answers = [];
    for (const request of [...requests, ...requests]) answers.push(await complete(engine, request));
    const { parks, unparks } = await engine.stats();
    ok(parks > 0 && unparks > 0);
    losable.lose();
    await losable.ready(2);
    strictEqual((await engine.stats()).parkedBlocks, 0);
    for (const request of [...requests, ...requests]) answers.push(await complete(engine, request));
    for (const [i, answer] of answers.entries()) deepStrictEqual(answer, answers[i % 3]);
    const after = await engine.stats();
    ok(after.parks > parks && after.unparks > unparks, "counts go on");
    await assertAllFree(engine);
  });

  Deno.test(`LocalEngine closes cleanly right after its device was lost [${provider}]`, async () => {
    const gpu = await openTestGpu(provider);
    if (!gpu) return;
    const losable = new LosableEngine(provider, gpu, 1);
    await losable.ready(1);
    const struck = complete(losable.engine, REQUEST, (count) => count === 2 && losable.lose());
    await rejects(struck, EngineUnavailableError);
    await losable[Symbol.asyncDispose]();
    await rejects(complete(losable.engine), { reason: "closed" });
  });
}
