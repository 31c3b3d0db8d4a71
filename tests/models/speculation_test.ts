// Speculation changes no token on a real network, greedy and sampled: random prompts that repeat themselves, with and
// without it, alone and side by side, on every backend.
import { deepStrictEqual, ok } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { LocalEngine } from "../../engine/local_engine.ts";
import type { GenerationEvent, GenerationRequest } from "../../engine/request.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadOptions } from "../../models/loaded_model.ts";
import type { ModelRunner } from "../../models/runner.ts";
import { readyEngine } from "../engine/ready_engine.ts";
import { EVERY_CASE } from "../every_case.ts";
import { GPU_PROVIDERS, openTestGpu } from "../gpus.ts";
import { Random } from "../kernels/random.ts";
import { CHUNKED } from "./shared_sizes.ts";

const MODEL_DIR = fileURLToPath(new URL("../fixtures/checkpoints/mqa-d40-f32", import.meta.url));
const VOCAB_SIZE = 263;
/** As in batching_test.ts: a difference is explained by two likeliest tokens nearer than this. */
const TIE = 1e-3 * 11;

async function openEngine(backend: Partial<LoadOptions>, speculation: boolean): Promise<LocalEngine> {
  const options: LoadOptions = {
    modelDir: MODEL_DIR,
    device: "cpu",
    // Blocks for three contexts of 192 tokens (K and V of 2 layers, one head of 40 f32).
    kvBytes: 3 * 192 * 2 * 2 * 40 * 4,
    ...CHUNKED,
    ...backend,
  };
  // Every step takes as long by this clock: what pays on this machine today is not what is tested.
  const clock = { steps: 0 };
  return await readyEngine({
    modelId: "fixture",
    speculation,
    now: () => clock.steps,
    openModel: async (onProgress) => {
      const model = await loadModel(options, onProgress);
      return { ...model, runner: counted(model.runner, clock) };
    },
  });
}

/** The runner, whose steps the clock counts as they are done. */
function counted(runner: ModelRunner, clock: { steps: number }): ModelRunner {
  return {
    limits: runner.limits,
    kvBytesPerBlock: runner.kvBytesPerBlock,
    stateBytes: runner.stateBytes,
    stepsInFlight: runner.stepsInFlight,
    lost: runner.lost,
    step: async (batch) => {
      const result = await runner.step(batch);
      clock.steps++;
      return result;
    },
    [Symbol.asyncDispose]: () => runner[Symbol.asyncDispose](),
  };
}

/** Prompts of a few tokens over and over, drawn among few so that drafts go wrong often; of four in turn greedy, sampled, with penalties, with two samples. */
function repetitiveRequests(random: Random, count: number): GenerationRequest[] {
  return Array.from({ length: count }, (_, i) => {
    const period = Array.from({ length: 2 + random.below(9) }, () => 5 + random.below(VOCAB_SIZE - 5));
    return {
      prompt: {
        kind: "tokens",
        ids: Array.from({ length: 10 + random.below(60) }, (_, k) => period[k % period.length]),
      },
      maxTokens: 40,
      ...(i % 4 === 0 ? { temperature: 0 } : { temperature: 1.4, topK: 3, topP: 0.98, seed: 1000 + i }),
      ...(i % 4 === 2 && { frequencyPenalty: 0.9, logitBias: [{ id: 40, delta: 1 }] }),
      ...(i % 4 === 3 && { n: 2 }),
      logprobs: 2,
      ignoreEos: i % 3 > 0,
    };
  });
}

type Token = Extract<GenerationEvent, { kind: "token" }>;

async function run(engine: LocalEngine, request: GenerationRequest): Promise<Token[]> {
  const events = await Array.fromAsync(engine.submit(request));
  return events.filter((event) => event.kind === "token").sort((a, b) => a.sample - b.sample);
}

/** Where they differ first the two likeliest tokens must be near each other, if they may differ at all. */
function assertSame(actual: readonly Token[], expected: readonly Token[], exact: boolean): void {
  if (exact) return deepStrictEqual(actual, expected);
  const first = expected.findIndex(({ id }, k) => id !== actual[k]?.id);
  if (first < 0) return;
  const [best, second] = expected[first].logprob!.top;
  // A draw may fall on the border between two tokens, whatever their probabilities.
  ok(best.logprob - second.logprob < TIE || expected[first].id !== best.id || actual[first].id !== best.id);
}

const BACKENDS: readonly Partial<LoadOptions>[] = [
  { device: "cpu" },
  ...GPU_PROVIDERS.flatMap((device) => (["safe", "fast"] as const).map((profile) => ({ device, profile }))),
];

for (const backend of BACKENDS) {
  const name = [backend.device, backend.profile].filter(Boolean).join(", ");
  // As in batching_test.ts: there a row's sums have one order whatever the batch.
  const exact = backend.profile === "safe" || backend.device === "cpu";
  Deno.test({
    name: `drafts change no token and no score [${name}]`,
    // Of the fast profile's sums on the built-in provider parity_test.ts has enough.
    ignore: backend.device === "webgpu" && backend.profile === "fast" && !EVERY_CASE,
    async fn() {
      if (!await isAvailable(backend)) return;
      await using having = await openEngine(backend, true);
      await using without = await openEngine(backend, false);
      const requests = repetitiveRequests(new Random(11), backend.device === "cpu" ? 32 : 12);
      const expected: Token[][] = [];
      for (const request of requests) {
        expected.push(await run(without, request));
        assertSame(await run(having, request), expected.at(-1)!, exact);
      }
      const together = await Promise.all(requests.map((request) => run(having, request)));
      for (const [i, tokens] of together.entries()) assertSame(tokens, expected[i], exact);
      const { draftedTokens, acceptedTokens, freeBlocks, totalBlocks } = await having.stats();
      console.log(`  ${acceptedTokens} of ${draftedTokens} drafted tokens were right`);
      deepStrictEqual(freeBlocks, totalBlocks);
      ok(acceptedTokens > 50, `too tame: ${acceptedTokens} of ${draftedTokens} right`);
      ok(
        draftedTokens - acceptedTokens > requests.length / 8,
        `too tame: ${acceptedTokens} of ${draftedTokens} right`,
      );
    },
  });
}

async function isAvailable({ device }: Partial<LoadOptions>): Promise<boolean> {
  if (device === "cpu") return true;
  using gpu = await openTestGpu(device as typeof GPU_PROVIDERS[number]);
  return gpu !== undefined;
}
