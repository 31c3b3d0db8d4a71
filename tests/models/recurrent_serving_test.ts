// H3 and modal Hyena through the real engine on every backend: greedy tokens are the reference's, and no request's depend
// on its company, on how its prompt is cut, on who gives way, nor on how many steps are in flight.
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type { LocalEngine, LocalEngineOptions } from "../../engine/local_engine.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { FIRST_DRAWN, type StepBatch } from "../../kernels/step.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadedModel, LoadOptions } from "../../models/loaded_model.ts";
import type { ModelRunner } from "../../models/runner.ts";
import { readyEngine } from "../engine/ready_engine.ts";
import { EVERY_CASE } from "../every_case.ts";
import { GPU_PROVIDERS, isDrawn, openTestGpu } from "../gpus.ts";
import { STRIPED_CASE } from "./long_conv_cases.ts";
import {
  EXACT_CASE,
  RECURRENT_CASES,
  type RecurrentModel,
  ROTARY_CASE,
  withModel,
} from "./recurrent_cases.ts";

type Backend = Pick<LoadOptions, "device" | "profile" | "longConvolutions">;

const BACKENDS: readonly Backend[] = [
  { device: "cpu" },
  ...GPU_PROVIDERS.flatMap((device) => (["safe", "fast"] as const).map((profile) => ({ device, profile }))),
];

/** Sequences at once, the same in most tests: kernels have it as a constant, and software compiles equal ones once. */
const MOST = 16;
/** Ids that both vocabularies have as text. */
const FIRST_ID = 5, NUM_IDS = 250;

async function openEngine(
  load: LoadOptions,
  change: (model: LoadedModel) => LoadedModel = (model) => model,
  options: Partial<LocalEngineOptions> = {},
): Promise<LocalEngine> {
  return await readyEngine({
    modelId: "fixture",
    typeThrough: false,
    ...options,
    openModel: async (onProgress) => change(await loadModel(load, onProgress)),
  });
}

interface Completion {
  readonly ids: readonly number[];
  /** Distance of the two best log-probabilities, per token. */
  readonly gaps: readonly number[];
}

async function run(engine: LocalEngine, request: GenerationRequest): Promise<Completion> {
  const ids: number[] = [], gaps: number[] = [];
  for await (const event of engine.submit(request)) {
    if (event.kind !== "token") continue;
    ids.push(event.id);
    if (event.logprob) gaps.push(event.logprob.top[0].logprob - event.logprob.top[1].logprob);
  }
  return { ids, gaps };
}

function tokensRequest(ids: readonly number[], options: Partial<GenerationRequest>): GenerationRequest {
  return { prompt: { kind: "tokens", ids }, temperature: 0, ignoreEos: true, logprobs: 2, ...options };
}

/** Prompts of 1 to 56 tokens, some of them beginnings of others; every other one is sampled with a seed of its own. */
function raggedRequests(): GenerationRequest[] {
  return Array.from({ length: 12 }, (_, i) => {
    const ids = Array.from({ length: 1 + 5 * i }, (_, k) => FIRST_ID + (k * 37 + (i >> 1) * 101) % NUM_IDS);
    const sampled = { temperature: 0.9, topK: 40, topP: 0.95, seed: 1000 + i };
    return tokensRequest(ids, { maxTokens: 8 + i, ...(i % 2 === 1 && sampled) });
  });
}

/** @param tie 0: no difference is explained */
function assertSame(actual: readonly Completion[], expected: readonly Completion[], tie: number): void {
  for (const [i, { ids, gaps }] of expected.entries()) {
    const first = ids.findIndex((id, k) => id !== actual[i].ids[k]);
    if (first < 0) continue;
    const what = `request ${i} differs at token ${first}, where the gap is ${gaps[first]}`;
    console.log(`  ${what}`);
    ok(gaps[first] < tie, what);
  }
  deepStrictEqual(actual.map(({ ids }) => ids.length), expected.map(({ ids }) => ids.length));
}

async function assertAllFree(engine: LocalEngine): Promise<void> {
  const { freeBlocks, totalBlocks, freeStateSlots, totalStateSlots } = await engine.stats();
  deepStrictEqual([freeBlocks, freeStateSlots], [totalBlocks, totalStateSlots]);
  strictEqual(engine.state.phase, "ready");
}

/** All at once, while others come, and some of these leave after a few tokens. */
async function together(
  load: LoadOptions,
  requests: readonly GenerationRequest[],
): Promise<[Completion[], number]> {
  await using engine = await openEngine(load);
  const [completions] = await Promise.all([
    Promise.all(requests.map((request) => run(engine, request))),
    ...requests.slice(0, 6).map(async (request, i) => {
      for (let turn = 0; turn < 20 * i; turn++) await new Promise((resolve) => setTimeout(resolve));
      let events = 0;
      for await (const _ of engine.submit({ ...request, maxTokens: 30 })) if (events++ === 2 * i) break;
    }),
  ]);
  await assertAllFree(engine);
  return [completions, (await engine.stats()).preemptions];
}

/** Each computed from its first token, a token a step. */
async function oneByOne(load: LoadOptions, requests: readonly GenerationRequest[]): Promise<Completion[]> {
  await using engine = await openEngine(load, undefined, { cachePrompts: false, speculation: false });
  const completions: Completion[] = [];
  for (const request of requests) completions.push(await run(engine, request));
  return completions;
}

async function checkGreedy(backend: Backend, { modelDir, prompt, greedy, gaps, tie }: RecurrentModel) {
  await using engine = await openEngine({ ...backend, modelDir, maxSequences: MOST });
  ok(engine.model.states!.numSlots > MOST);
  if (backend.longConvolutions) {
    strictEqual(engine.model.longConvolutions?.form, backend.longConvolutions);
  }
  const { ids } = await run(engine, tokensRequest(prompt, { maxTokens: greedy.length }));
  const first = ids.findIndex((id, k) => id !== greedy[k]);
  if (first >= 0) {
    ok(gaps[first] < tie, `token ${first} differs, where the gap is ${gaps[first]} and a tie ${tie}`);
  }
  console.log(
    `  ${first < 0 ? ids.length : first} tokens are the reference's; gaps from ${
      Math.min(...gaps).toFixed(4)
    }`,
  );
  strictEqual(ids.length, greedy.length);
  await assertAllFree(engine);
}

async function checkCompany(backend: Backend, { modelDir, tie }: RecurrentModel): Promise<void> {
  const load = { ...backend, modelDir, maxSequences: MOST }, requests = raggedRequests();
  // Every form on the CPU and in the safe profile goes through a sequence's rows in one order, however they are cut.
  // Sums made online are rounded as they were made: ahead of time or anew.
  const exact = (backend.profile === "safe" || backend.device === "cpu") && !backend.longConvolutions;
  const alone = await oneByOne(load, requests);
  ok(new Set(alone.flatMap(({ ids }) => ids)).size > 20, "the completions hardly vary");
  const [company] = await together(load, requests);
  assertSame(company, alone, exact ? 0 : tie);
  // Three slots for all, and prompts in chunks of a few tokens.
  const [scarce] = await together({ ...load, maxSequences: 3, maxBatchTokens: 12 }, requests);
  assertSame(scarce, alone, exact ? 0 : tie);
}

for (const backend of BACKENDS) {
  const where = [backend.device, backend.profile].filter(Boolean).join(", ");
  for (const name of [...RECURRENT_CASES, ROTARY_CASE, STRIPED_CASE, EXACT_CASE] as const) {
    Deno.test({
      name: `greedy tokens through the engine are the reference's: ${name} [${where}]`,
      // What these have of their own is tested in the fast profile in tests/kernels.
      ignore: !EVERY_CASE && backend.device !== "cpu" &&
        (backend.profile === "fast" || !isDrawn(name, backend.device)),
      async fn() {
        if (await isAvailable(backend)) await withModel(name, (model) => checkGreedy(backend, model));
      },
    });
  }
  for (const name of [...RECURRENT_CASES, EXACT_CASE] as const) {
    Deno.test({
      name:
        `ragged requests together, in chunks, while others come and go, equal one by one: ${name} [${where}]`,
      ignore: (backend.profile === "fast" || name === EXACT_CASE && backend.device !== "cpu") && !EVERY_CASE,
      async fn() {
        if (await isAvailable(backend)) await withModel(name, (model) => checkCompany(backend, model));
      },
    });
  }
}

for (const device of ["cpu", ...GPU_PROVIDERS] as const) {
  const online: Backend = { device, profile: "fast", longConvolutions: "online" };
  const name = `sums made online give the reference's greedy tokens: ${EXACT_CASE}`;
  Deno.test({
    name: `${name} [${device}]`,
    ignore: device !== "cpu" && !isDrawn(name, device),
    async fn() {
      if (await isAvailable(online)) await withModel(EXACT_CASE, (model) => checkGreedy(online, model));
    },
  });
  Deno.test({
    name: `sums made online give ragged requests what they get one by one: ${EXACT_CASE} [${device}]`,
    ignore: device !== "cpu" && !EVERY_CASE,
    async fn() {
      if (await isAvailable(online)) await withModel(EXACT_CASE, (model) => checkCompany(online, model));
    },
  });
}

for (const name of RECURRENT_CASES) {
  Deno.test(`a step begun before the one ahead of it is done changes no token: ${name} [dawn, safe]`, async () => {
    if (!await isAvailable({ device: "dawn" })) return;
    await withModel(name, async ({ modelDir }) => {
      const load = { device: "dawn", profile: "safe", modelDir, maxSequences: MOST } as const;
      const [one, two] = [await inFlight(load, 1), await inFlight(load, 2)];
      deepStrictEqual(two.ids, one.ids);
      strictEqual(one.ahead, 0);
      ok(two.ahead > 5, `${two.ahead} steps began ahead`);
    });
  });
}

/** The tokens of ragged requests, so many steps in flight, and how many of these began ahead. */
async function inFlight(load: LoadOptions, stepsInFlight: number) {
  let ahead = 0;
  const watch = (model: LoadedModel) => ({
    ...model,
    runner: new Proxy(model.runner, {
      get(runner: ModelRunner, property) {
        if (property === "stepsInFlight") return stepsInFlight;
        if (property === "step") {
          return (batch: StepBatch) => {
            if (batch.tokenIds.some((id) => id >= FIRST_DRAWN)) ahead++;
            return runner.step(batch);
          };
        }
        const value = Reflect.get(runner, property);
        return typeof value === "function" ? value.bind(runner) : value;
      },
    }),
  });
  await using engine = await openEngine(load, watch);
  const completions = await Promise.all(raggedRequests().map((request) => run(engine, request)));
  await assertAllFree(engine);
  return { ids: completions.map(({ ids }) => ids), ahead };
}

async function isAvailable({ device }: Backend): Promise<boolean> {
  if (device === "cpu") return true;
  using gpu = await openTestGpu(device as typeof GPU_PROVIDERS[number]);
  return gpu !== undefined;
}
