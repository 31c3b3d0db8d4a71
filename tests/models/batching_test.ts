// What a request gets does not depend on its company: sixteen ragged requests together equal the same one by one, and
// prompts in chunks equal prompts in one piece, through the real engine on every backend.
import { deepStrictEqual, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { LocalEngine } from "../../engine/local_engine.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadOptions } from "../../models/loaded_model.ts";
import { GPU_PROVIDERS, openTestGpu } from "../gpus.ts";

const MODEL_DIR = fileURLToPath(new URL("../fixtures/checkpoints/mqa-d40-f32", import.meta.url));
const VOCAB_SIZE = 263;
/** A first difference is explained by a tie: the two likeliest tokens nearer than this (the fixture's logits reach 11). */
const TIE = 1e-3 * 11;

interface Completion {
  readonly ids: readonly number[];
  /** Distance of the two best log-probabilities, per token. */
  readonly gaps: readonly number[];
}

async function openEngine(load: Partial<LoadOptions>): Promise<LocalEngine> {
  const ready = Promise.withResolvers<void>();
  const options: LoadOptions = {
    modelDir: MODEL_DIR,
    device: "cpu",
    kvBytes: 2 ** 22,
    maxSequences: 16,
    ...load,
  };
  const engine = new LocalEngine({
    modelId: "fixture",
    openModel: (onProgress) => loadModel(options, onProgress),
    onState: (state) => {
      if (state.phase === "ready") ready.resolve();
      if (state.phase === "failed") ready.reject(new Error(state.reason));
    },
  });
  await ready.promise;
  return engine;
}

/** Prompts of 1 to 91 tokens; every other one is sampled with a seed of its own. */
function raggedRequests(): GenerationRequest[] {
  return Array.from({ length: 16 }, (_, i) => ({
    prompt: {
      kind: "tokens",
      ids: Array.from({ length: 1 + 6 * i }, (_, k) => 5 + (k * 37 + i * 101) % (VOCAB_SIZE - 5)),
    },
    maxTokens: 12 + i,
    ...(i % 2 === 0 ? { temperature: 0 } : { temperature: 0.9, topK: 40, topP: 0.95, seed: 1000 + i }),
    logprobs: 2,
    ignoreEos: true,
  }));
}

async function run(engine: LocalEngine, request: GenerationRequest): Promise<Completion> {
  const ids: number[] = [], gaps: number[] = [];
  for await (const event of engine.submit(request)) {
    if (event.kind !== "token") continue;
    ids.push(event.id);
    gaps.push(event.logprob!.top[0].logprob - event.logprob!.top[1].logprob);
  }
  return { ids, gaps };
}

async function together(load: Partial<LoadOptions>): Promise<Completion[]> {
  await using engine = await openEngine(load);
  return await Promise.all(raggedRequests().map((request) => run(engine, request)));
}

async function oneByOne(load: Partial<LoadOptions>): Promise<Completion[]> {
  await using engine = await openEngine(load);
  const completions: Completion[] = [];
  for (const request of raggedRequests()) completions.push(await run(engine, request));
  return completions;
}

function assertSame(actual: readonly Completion[], expected: readonly Completion[], exact: boolean): void {
  for (const [i, { ids, gaps }] of expected.entries()) {
    const first = ids.findIndex((id, k) => id !== actual[i].ids[k]);
    if (first < 0) continue;
    ok(
      !exact && gaps[first] < TIE,
      `request ${i} differs at token ${first}, where the gap is ${gaps[first]}`,
    );
  }
  deepStrictEqual(actual.map(({ ids }) => ids.length), expected.map(({ ids }) => ids.length));
}

const BACKENDS: readonly Partial<LoadOptions>[] = [
  { device: "cpu" },
  { device: "onnx" },
  ...GPU_PROVIDERS.flatMap((device) => (["safe", "fast"] as const).map((profile) => ({ device, profile }))),
];

for (const backend of BACKENDS) {
  const name = [backend.device, backend.profile].filter(Boolean).join(", ");
  // The safe profile and our kernels on the CPU promise that a row's sums have one order whatever the batch.
  const exact = backend.profile === "safe" || backend.device === "cpu";
  Deno.test(`16 ragged requests, greedy and seeded, together equal one by one [${name}]`, async () => {
    if (!await isAvailable(backend)) return;
    const alone = await oneByOne(backend);
    ok(new Set(alone.flatMap(({ ids }) => ids)).size > 50, "the completions hardly vary");
    assertSame(await together(backend), alone, exact);
    // A budget of 24 tokens cuts most prompts in chunks; blocks for three full contexts make sequences give way.
    assertSame(await together({ ...backend, maxBatchTokens: 24, kvBytes: scarceKvBytes() }), alone, exact);
  });
}

async function isAvailable({ device }: Partial<LoadOptions>): Promise<boolean> {
  if (device === "cpu" || device === "onnx") return true;
  using gpu = await openTestGpu(device as typeof GPU_PROVIDERS[number]);
  return gpu !== undefined;
}

/** K and V of 2 layers, one head of 40 f32, for three sequences of 192 tokens. */
function scarceKvBytes(): number {
  return 3 * 192 * 2 * 2 * 40 * 4;
}
