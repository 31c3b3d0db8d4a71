// What a request gets does not depend on its company: sixteen ragged requests together equal the same one by one, and
// prompts in chunks equal prompts in one piece, through the real engine on every backend.
import { deepStrictEqual, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { LocalEngine } from "../../engine/local_engine.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadOptions } from "../../models/loaded_model.ts";
import { readyEngine } from "../engine/ready_engine.ts";
import { EVERY_CASE } from "../every_case.ts";
import { GPU_PROVIDERS, matrixUnitsTest, openTestGpu } from "../gpus.ts";
import { CHUNKED, ROOMY } from "./shared_sizes.ts";

const VOCAB_SIZE = 263;

interface Fixture {
  readonly modelDir: string;
  /** A first difference is explained by a tie: the two likeliest tokens nearer than this. */
  readonly tie: number;
  /** Where rounding is coarse a draw falls on the border of two tokens now and then, which no distance explains. */
  readonly allGreedy: boolean;
  /** K and V of three sequences of 192 tokens, in 2 layers. */
  readonly scarceKvBytes: number;
}

/** One head of 40 in f32; logits reach 11. */
const FLOATS: Fixture = {
  modelDir: checkpoint("mqa-d40-f32"),
  tie: 1e-3 * 11,
  allGreedy: false,
  scarceKvBytes: 3 * 192 * 2 * 2 * 40 * 4,
};
/** In f16, which matrix units can take, rounding activations: three heads of 32; logits reach 12. */
const HALVES: Fixture = {
  modelDir: checkpoint("mha-d32-erf-untied-f32"),
  tie: 1e-2 * 12,
  allGreedy: true,
  scarceKvBytes: 3 * 192 * 2 * 2 * 96 * 2,
};

function checkpoint(name: string): string {
  return fileURLToPath(new URL(`../fixtures/checkpoints/${name}`, import.meta.url));
}

interface Completion {
  readonly ids: readonly number[];
  /** Distance of the two best log-probabilities, per token. */
  readonly gaps: readonly number[];
}

async function openEngine(load: Partial<LoadOptions>): Promise<LocalEngine> {
  const options: LoadOptions = {
    modelDir: FLOATS.modelDir,
    device: "cpu",
    kvBytes: 2 ** 22,
    ...ROOMY,
    ...load,
  };
  return await readyEngine({
    modelId: "fixture",
    openModel: (onProgress) => loadModel(options, onProgress),
  });
}

/** Prompts of 1 to 91 tokens; unless all are to be greedy, every other one is sampled with a seed of its own. */
function raggedRequests({ allGreedy }: Fixture): GenerationRequest[] {
  return Array.from({ length: 16 }, (_, i) => ({
    prompt: {
      kind: "tokens",
      ids: Array.from({ length: 1 + 6 * i }, (_, k) => 5 + (k * 37 + i * 101) % (VOCAB_SIZE - 5)),
    },
    maxTokens: 12 + i,
    ...(allGreedy || i % 2 === 0
      ? { temperature: 0 }
      : { temperature: 0.9, topK: 40, topP: 0.95, seed: 1000 + i }),
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

async function together(
  load: Partial<LoadOptions>,
  requests: readonly GenerationRequest[],
): Promise<Completion[]> {
  await using engine = await openEngine(load);
  return await Promise.all(requests.map((request) => run(engine, request)));
}

async function oneByOne(
  load: Partial<LoadOptions>,
  requests: readonly GenerationRequest[],
): Promise<Completion[]> {
  await using engine = await openEngine(load);
  const completions: Completion[] = [];
  for (const request of requests) completions.push(await run(engine, request));
  return completions;
}

function assertSame(actual: readonly Completion[], expected: readonly Completion[], tie: number): void {
  for (const [i, { ids, gaps }] of expected.entries()) {
    const first = ids.findIndex((id, k) => id !== actual[i].ids[k]);
    if (first < 0) continue;
    console.log(`  request ${i} differs at token ${first}, where the gap is ${gaps[first]}`);
    ok(
      gaps[first] < tie,
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
  Deno.test({
    name: `16 ragged requests, greedy and seeded, together equal one by one [${name}]`,
    // Of the fast profile's sums on the built-in provider parity_test.ts has enough.
    ignore: backend.device === "webgpu" && backend.profile === "fast" && !EVERY_CASE,
    async fn() {
      if (await isAvailable(backend)) await checkCompany(backend, FLOATS, exact ? 0 : FLOATS.tie);
    },
  });
}

matrixUnitsTest(
  "16 ragged greedy requests together equal one by one",
  {},
  () => checkCompany({ device: "dawn", profile: "fast", storage: "f16", kvType: "f16" }, HALVES, HALVES.tie),
);

/** @param tie 0: no difference is explained */
async function checkCompany(backend: Partial<LoadOptions>, fixture: Fixture, tie: number): Promise<void> {
  const load = { ...backend, modelDir: fixture.modelDir };
  const requests = raggedRequests(fixture);
  const alone = await oneByOne(load, requests);
  ok(new Set(alone.flatMap(({ ids }) => ids)).size > 50, "the completions hardly vary");
  assertSame(await together(load, requests), alone, tie);
  // Blocks for three full contexts make sequences give way.
  const scarce = { ...CHUNKED, kvBytes: fixture.scarceKvBytes };
  assertSame(await together({ ...load, ...scarce }, requests), alone, tie);
}

async function isAvailable({ device }: Partial<LoadOptions>): Promise<boolean> {
  if (device === "cpu" || device === "onnx") return true;
  using gpu = await openTestGpu(device as typeof GPU_PROVIDERS[number]);
  return gpu !== undefined;
}
