// Every backend computes what transformers computes: logits of whole prompts, and greedy continuations of 64 tokens. Where
// matrix units read activations rounded to f16, tolerances are wider and a tie may go the other way.
import { deepStrictEqual, ok } from "node:assert/strict";
import { DEFAULT_MODEL_ID } from "../../cli/default_model.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadedModel } from "../../models/loaded_model.ts";
import { EVERY_CASE } from "../every_case.ts";
import { drawingSeed, GPU_PROVIDERS, isDrawn, matrixUnitsTest, openTestGpu } from "../gpus.ts";
import { Random } from "../kernels/random.ts";
import { packBatch, TestSequence } from "./cpu_models.ts";
import { logitError } from "./logit_error.ts";
import { type Expected, PARITY_CASES, type ParityCase, readExpected } from "./parity_cases.ts";
import { ROOMY } from "./shared_sizes.ts";

const PROFILES = ["safe", "fast"] as const;

type Backend =
  | { readonly device: "cpu" | "onnx"; readonly profile?: never }
  | { readonly device: typeof GPU_PROVIDERS[number]; readonly profile: typeof PROFILES[number] };

const BACKENDS: readonly Backend[] = [
  { device: "cpu" },
  { device: "onnx" },
  ...GPU_PROVIDERS.flatMap((device) => PROFILES.map((profile) => ({ device, profile }))),
];

/** Most L2 error of logits where weights and cache are f16, where activations are too, and where the cache is int8. */
const F16_TOLERANCE = 5e-3;
const HALVES_TOLERANCE = 1e-2;
const INT8_CACHE_TOLERANCE = 8e-2;
/** Most distance of two logits that such rounding may swap, relative to the largest |logit|. */
const HALVES_TIE = 1e-3;

/** Greedy tokens of the default model that a GPU in software is asked for, which takes a third of a second for each. */
const FEW_TOKENS = { dawn: 16, webgpu: 8 };
/** In the safe profile on both providers; of the others each is on one of them. */
const ON_BOTH = ["mqa-d40-f32", DEFAULT_MODEL_ID];
/** In the fast profile, of which every kernel has tests of its own, one case of each arithmetic. */
const FAST_CASES = {
  dawn: ["mqa-d40-f32", "mqa-d128-erf-f16", "starcoder2-gqa-window-f32"],
  webgpu: ["mqa-d40-f32", "qwen2-gqa-f32"],
};

for (const backend of BACKENDS) {
  const name = [backend.device, backend.profile].filter(Boolean).join(", ");
  for (const parityCase of PARITY_CASES) {
    Deno.test({
      name: `parity with transformers: ${parityCase.name} [${name}]`,
      ignore: !isChosen(parityCase.name, backend),
      async fn() {
        const arithmetic = await arithmeticOf(backend);
        if (arithmetic) await checkParity(parityCase, backend, arithmetic);
      },
    });
  }
}

function isChosen(name: string, { device, profile }: Backend): boolean {
  if (EVERY_CASE || !profile) return true;
  if (profile === "fast") return FAST_CASES[device].includes(name);
  return ON_BOTH.includes(name) || isDrawn(name, device);
}

const HALVES_CASES = PARITY_CASES.filter(({ storage }) => storage !== "f32");
/** Software compiles a model's products and attention on matrix units for up to a minute: two a run, drawn. */
const DRAWN_HALVES = EVERY_CASE ? HALVES_CASES : new Random(drawingSeed()).choose(HALVES_CASES, 2);

for (const parityCase of DRAWN_HALVES) {
  matrixUnitsTest(
    `parity with transformers: ${parityCase.name}`,
    {},
    () => checkParity(parityCase, { device: "dawn", profile: "fast" }, "halves"),
  );
}

for (const device of GPU_PROVIDERS) {
  Deno.test(`a KV cache in int8 moves the default model's logits by little [${device}]`, async () => {
    if (!await arithmeticOf({ device, profile: "safe" })) return;
    const parityCase = PARITY_CASES.at(-1)!;
    const model = await load({ ...parityCase, kvType: "i8" }, { device, profile: "safe" });
    await using _ = model.runner;
    await checkLogits(model, await readExpected(parityCase), INT8_CACHE_TOLERANCE);
  });
}

/** In what products of many rows are computed from weights in f16 and int8; undefined where there is no such backend. */
async function arithmeticOf({ device, profile }: Backend): Promise<"floats" | "halves" | undefined> {
  if (device === "cpu" || device === "onnx") return "floats";
  using gpu = await openTestGpu(device, { ...(profile && { profile }) });
  return gpu && (profile === "fast" && gpu.caps.matrixFragment ? "halves" : "floats");
}

async function checkParity(
  parityCase: ParityCase,
  backend: Backend,
  arithmetic: "floats" | "halves",
): Promise<void> {
  const { storage } = parityCase, expected = await readExpected(parityCase);
  const model = await load(parityCase, backend);
  await using _ = model.runner;
  const halves = arithmetic === "halves" && storage !== "f32";
  await checkLogits(
    model,
    expected,
    halves ? HALVES_TOLERANCE : storage === "f16" ? F16_TOLERANCE : undefined,
  );
  const { device } = backend;
  const few = parityCase.name === DEFAULT_MODEL_ID && !EVERY_CASE &&
    (device === "dawn" || device === "webgpu");
  const greedy = expected.greedy.slice(0, few ? FEW_TOKENS[device] : undefined);
  if (storage !== "f16") await checkGreedy(model, { ...expected, greedy }, halves ? HALVES_TIE : 0);
}

async function load({ modelDir, kvType }: ParityCase, backend: Backend): Promise<LoadedModel> {
  // Enough for one sequence.
  const sizes = { ...ROOMY, kvBytes: 2 ** 26 };
  return await loadModel({ modelDir, ...backend, ...sizes, ...(kvType && { kvType }) });
}

/** @param most L2 error; undefined = differences as small as f32 makes them */
async function checkLogits(
  { runner, vocabSize, suppressedTokens }: LoadedModel,
  { prompts, rows, logits }: Expected,
  most?: number,
): Promise<void> {
  const suppressed = new Set(suppressedTokens);
  for (const [i, prompt] of prompts.entries()) {
    const batch = packBatch([{ sequence: newSequence(prompt), count: prompt.length }], { everyRow: true });
    const step = await runner.step({ ...batch, samples: batch.samples.slice(-rows[i]) });
    const error = logitError(step.logits!, logits[i], vocabSize, suppressed);
    console.log(
      `  ${prompt.length} tokens: largest ${error.largest.toExponential(1)}, L2 ${error.l2.toExponential(1)}`,
    );
    if (most) ok(error.l2 <= most, `relative L2 must be at most ${most}, received ${error.l2}`);
    else ok(error.largest <= 1e-4, `largest difference must be at most 1e-4, received ${error.largest}`);
  }
}

/** @param tie relative distance of two logits either of which may be taken for the largest */
async function checkGreedy({ runner }: LoadedModel, expected: Expected, tie: number): Promise<void> {
  const prompt = expected.prompts[expected.greedyPrompt];
  const sequence = newSequence(prompt);
  for (let i = 0; i < expected.greedy.length; i++) {
    const count = sequence.tokens.length - sequence.numCached;
    const { tokenIds, logits } = await runner.step({
      ...packBatch([{ sequence, count }]),
      readLogits: tie > 0,
    });
    sequence.numCached += count;
    sequence.tokens.push(tokenIds[0]);
    if (tokenIds[0] !== expected.greedy[i] && logits) {
      const gap = Math.abs(logits[tokenIds[0]] - logits[expected.greedy[i]]);
      const relative = gap / Math.max(...logits.map(Math.abs));
      console.log(`  token ${i} fell the other way at a distance of ${relative.toExponential(1)}`);
      ok(relative <= tie, `token ${i} differs, and not for a tie: distance ${relative}`);
      sequence.tokens[sequence.tokens.length - 1] = expected.greedy[i];
    }
  }
  deepStrictEqual(sequence.tokens.slice(prompt.length), [...expected.greedy]);
}

/** A sequence whose blocks lie in no order, as in a cache that has been in use. */
function newSequence(prompt: readonly number[]): TestSequence {
  return new TestSequence(prompt, [7, 2, 9, 0, 4, 11, 1, 8, 3, 10, 6, 5]);
}
