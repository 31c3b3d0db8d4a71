// States of real networks that are kept, copied and taken back: what goes on from one has the tokens and log-probabilities
// of what was computed from the first token, a token a step, on every backend.
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type { LocalEngine, LocalEngineOptions } from "../../engine/local_engine.ts";
import type { GenerationEvent, GenerationRequest } from "../../engine/request.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadOptions } from "../../models/loaded_model.ts";
import { readyEngine } from "../engine/ready_engine.ts";
import { EVERY_CASE } from "../every_case.ts";
import { GPU_PROVIDERS, isDrawn, openTestGpu } from "../gpus.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { STRIPED_CASE } from "./long_conv_cases.ts";
import { safetensorsFile, withFolder } from "./safetensors_bytes.ts";
import {
  EXACT_CASE,
  RECURRENT_CASES,
  type RecurrentCase,
  ROTARY_CASE,
  withModel,
} from "./recurrent_cases.ts";

type Backend = Pick<LoadOptions, "device" | "profile" | "longConvolutions">;

/** Ids that all vocabularies have as text. */
const FIRST_ID = 5, NUM_IDS = 250;
const MAX_TOKENS = 24;
/** Requests, where steps take little: among so many are drafts that are wrong. */
const MANY = 40;
/** Windows of sums that are made online have 128 positions, and several of them an end. */
const LONGER_CONTEXT = 1024;
/** As little as windows of that size are made for: blocks for some sequences of that context. */
const SCARCE_BYTES = 265_000;
/** Where rounding may differ. */
const LEAST_TIE = 1e-3;

async function openEngine(load: LoadOptions, options: Partial<LocalEngineOptions>): Promise<LocalEngine> {
  return await readyEngine({
    modelId: "fixture",
    typeThrough: false,
    openModel: (onProgress) => loadModel(load, onProgress),
    ...options,
  });
}

type Token = Extract<GenerationEvent, { kind: "token" }>;

/** @param place every other one is batch work at once, whose place those take that come later */
async function run(engine: LocalEngine, request: GenerationRequest, place = 1): Promise<Token[]> {
  const priority = place % 2 === 0 ? "batch" : "live";
  for (let turn = 1; turn < place && priority === "live"; turn++) {
    await new Promise((done) => setTimeout(done));
  }
  const events = await Array.fromAsync(engine.submit({ ...request, priority }));
  return events.filter((event) => event.kind === "token").sort((a, b) => a.sample - b.sample);
}

/** Goes away after some tokens. */
async function leave(engine: LocalEngine, request: GenerationRequest, numEvents: number): Promise<void> {
  let events = 0;
  for await (const _ of engine.submit(request)) if (events++ === numEvents) break;
}

/** Texts that go on, come back to an earlier place, and repeat themselves; greedy, sampled, and several samples at once. */
function askedInTurns(random: Random, contextLength: number, count: number): GenerationRequest[] {
  const most = Math.min(700, contextLength - MAX_TOKENS);
  const some = (length: number) => Array.from(random.integers(length, NUM_IDS), (id) => FIRST_ID + id);
  const texts = [40, 80, 120, 160].map((shorter) => some(Math.max(20, most - shorter)));
  return Array.from({ length: count }, (_, i) => {
    const which = random.below(texts.length);
    let ids = texts[which];
    if (i % 4 === 3) ids = ids.slice(0, 1 + random.below(ids.length));
    const more = some(1 + random.below(12));
    ids = [...ids, ...more, ...more, ...more].slice(0, most);
    texts[which] = ids;
    return {
      prompt: { kind: "tokens", ids },
      maxTokens: 4 + random.below(MAX_TOKENS - 4),
      ...(i % 2 === 0 ? { temperature: 0 } : { temperature: 1.2, topK: 40, seed: 1000 + i }),
      // The same token again and again, until its penalty is too high: then a draft is wrong.
      ...(i % 3 === 1 && { logitBias: [{ id: FIRST_ID + i, delta: 6 }], frequencyPenalty: 1 }),
      ...(i % 5 === 4 && { n: 3 }),
      logprobs: 2,
      ignoreEos: true,
    };
  });
}

/**
 * @param tie most distance of the two likeliest tokens where these may be chosen otherwise, and of log-probabilities; 0:
 * everything is the same
 */
function assertSame(actual: readonly Token[], expected: readonly Token[], tie: number): void {
  if (tie === 0) return deepStrictEqual(actual, expected);
  strictEqual(actual.length, expected.length);
  const first = expected.findIndex(({ id }, k) => id !== actual[k].id);
  for (const [k, { logprob }] of expected.slice(0, first < 0 ? expected.length : first).entries()) {
    ok(Math.abs(logprob!.logprob! - actual[k].logprob!.logprob!) < tie, `token ${k}`);
  }
  if (first < 0) return;
  const [best, second] = expected[first].logprob!.top;
  // A draw may fall on the border between two tokens, whatever their probabilities.
  ok(best.logprob - second.logprob < tie || expected[first].id !== best.id || actual[first].id !== best.id);
}

/** @param kvBytes of the engine that reuses; undefined: more than it needs */
async function checkReuse(
  backend: Backend,
  modelDir: string,
  tie: number,
  count: number,
  kvBytes?: number,
): Promise<void> {
  const seed = testSeed();
  // The pacer's clock: every step seems to take as long, so that drafts are run wherever they may be right.
  let steps = 0;
  const load = { ...backend, modelDir, maxSequences: 4, maxBatchTokens: 96, numThreads: 1 };
  await using warm = await openEngine({ ...load, ...(kvBytes && { kvBytes }) }, { now: () => steps++ });
  const direct: Partial<Backend> = backend.longConvolutions ? { longConvolutions: "direct" } : {};
  await using cold = await openEngine({ ...load, ...direct }, { cachePrompts: false, speculation: false });
  strictEqual(
    warm.model.longConvolutions?.form,
    backend.longConvolutions ?? cold.model.longConvolutions?.form,
  );
  const requests = askedInTurns(new Random(seed), warm.model.contextLength, count);
  const expected: Token[][] = [];
  for (const request of requests) {
    const { n = 1, ...alone } = request;
    const tokens = await run(cold, n === 1 ? request : alone);
    expected.push(tokens);
    const found = await run(warm, request);
    assertSame(found.filter(({ sample }) => sample === 0), tokens, tie);
    if (n > 1 && request.temperature === 0) {
      for (const sample of [1, 2]) {
        const others = found.filter((token) => token.sample === sample);
        assertSame(others.map((token) => ({ ...token, sample: 0 })), tokens, tie);
      }
    }
  }
  const [together] = await Promise.all([
    Promise.all(requests.map((request, i) => run(warm, request, i))),
    ...requests.map((request, i) => leave(warm, request, i % MAX_TOKENS)),
  ]);
  for (const [i, tokens] of together.entries()) {
    assertSame(tokens.filter(({ sample }) => sample === 0), expected[i], tie);
  }
  const stats = await warm.stats();
  console.log(
    `  seed ${seed}: ${stats.cachedTokens} of ${stats.promptTokens} prompt tokens were cached, ${stats.acceptedTokens} of ` +
      `${stats.draftedTokens} drafts right, ${stats.stateSnapshots} of ${stats.totalStateSlots} slots kept, ${stats.preemptions} preemptions`,
  );
  ok(stats.cachedTokens > stats.promptTokens / 3, "too little was reused");
  const wrong = stats.draftedTokens - stats.acceptedTokens;
  ok(
    stats.acceptedTokens > 3 * count && (count < MANY || wrong > 0),
    "too few drafts, or all of them right",
  );
  deepStrictEqual([stats.freeBlocks, stats.freeStateSlots], [stats.totalBlocks, stats.totalStateSlots]);
  await new Promise((resolve) => setTimeout(resolve, 1)); // The engine checks its pools when idle.
  strictEqual(warm.state.phase, "ready");
}

const BACKENDS: readonly Backend[] = [
  { device: "cpu" },
  ...GPU_PROVIDERS.flatMap((device) => (["safe", "fast"] as const).map((profile) => ({ device, profile }))),
];

for (const backend of BACKENDS) {
  const where = [backend.device, backend.profile].filter(Boolean).join(", ");
  const isCpu = backend.device === "cpu";
  for (const name of [...RECURRENT_CASES, ROTARY_CASE, STRIPED_CASE, EXACT_CASE] as const) {
    Deno.test({
      name: `cached beginnings, shared prompts and drafts change no token and no score: ${name} [${where}]`,
      ignore: !EVERY_CASE && backend.device !== "cpu" &&
        (backend.profile === "fast" || !isOnGpus(name) || !isDrawn(name, backend.device)),
      async fn() {
        if (!await isAvailable(backend)) return;
        await withModel(name, async ({ modelDir, tie }) => {
          // Exact Hyena adds what a step's rows and what earlier ones contribute, each a sum of its own.
          const exact = name !== EXACT_CASE && (isCpu || backend.profile === "safe");
          await checkReuse(backend, modelDir, exact ? 0 : Math.max(tie, LEAST_TIE), isCpu ? MANY : 8);
        });
      },
    });
  }
}

for (const device of ["cpu", ...GPU_PROVIDERS] as const) {
  const backend: Backend = { device, profile: "fast", longConvolutions: "online" };
  Deno.test({
    name: `sums made online stay a sequence's own where states are kept, shared and taken back [${device}]`,
    // What the GPU sums is tested in online_sums_test.ts.
    ignore: device !== "cpu" && !EVERY_CASE,
    async fn() {
      if (!await isAvailable(backend)) return;
      await withModel(EXACT_CASE, async ({ modelDir, tie }) => {
        const count = device === "cpu" ? MANY : 8;
        await withContext(
          modelDir,
          LONGER_CONTEXT,
          (folder) => checkReuse(backend, folder, Math.max(tie, LEAST_TIE), count, SCARCE_BYTES),
        );
      });
    },
  });
}

/** The same weights with another context: filters are functions of the position, whose features are not stored then. */
async function withContext(
  modelDir: string,
  contextLength: number,
  body: (folder: string) => Promise<void>,
): Promise<void> {
  const read = (name: string) => Deno.readTextFile(`${modelDir}/${name}`);
  const weights = await Deno.readFile(`${modelDir}/model.safetensors`);
  const headerEnd = 8 + Number(new DataView(weights.buffer).getBigUint64(0, true));
  // Nobody asks for a tensor of such a name; without it there would be a gap.
  const header = new TextDecoder().decode(weights.subarray(8, headerEnd)).replaceAll(".pos_emb.z", ".unused");
  await withFolder({
    "config.json": JSON.stringify({ ...JSON.parse(await read("config.json")), max_seq_len: contextLength }),
    "model.safetensors": safetensorsFile(header, weights.length - headerEnd, weights.subarray(headerEnd)),
    "tokenizer.json": await read("tokenizer.json"),
    "tokenizer_config.json": await read("tokenizer_config.json"),
  }, body);
}

/** On a software GPU, one provider a run; the others where a real one runs the tests. */
function isOnGpus(name: RecurrentCase): boolean {
  return name === "h3-attention" || name === EXACT_CASE;
}

async function isAvailable({ device }: Backend): Promise<boolean> {
  if (device === "cpu") return true;
  using gpu = await openTestGpu(device as typeof GPU_PROVIDERS[number]);
  return gpu !== undefined;
}
