// The trained H3 and Hyena compute on every backend what PyTorch computes with the same weights: logits of whole prompts,
// and 64 greedy tokens, prefill and then step by step; and Hyena's sums ahead of time give the logits of direct ones.
import { equal, ok } from "node:assert/strict";
import { BLOCK_SIZE } from "../../kernels/step.ts";
import { loadModel } from "../../models/load_model.ts";
import type { LoadedModel, LoadOptions } from "../../models/loaded_model.ts";
import { EVERY_CASE } from "../every_case.ts";
import { GPU_PROVIDERS, matrixUnitsTest, openTestGpu } from "../gpus.ts";
import { packBatch, TestSequence } from "./cpu_models.ts";
import { logitError } from "./logit_error.ts";
import type { Expected } from "./parity_cases.ts";
import { ROOMY } from "./shared_sizes.ts";
import { TRAINED_MODELS, trainedModel } from "./trained_cases.ts";

type Backend = Pick<LoadOptions, "device" | "profile">;

/** Of the largest logit: what f32 leaves, and where matrix units read activations in f16. */
const TOLERANCE = 1e-4, HALVES_TOLERANCE = 1e-2;
/** Distance of two logits that such rounding may swap, as a share of the largest |logit|. */
const HALVES_TIE = 1e-3;
/** Set where a GPU runs the tests (bench/gpu/suites.sh): software compiles the fast profile's kernels for minutes. */
const PROFILES = EVERY_CASE ? ["safe", "fast"] as const : ["safe"] as const;
/** Greedy tokens that software is asked for: it takes a second for each, and more are drawn over HTTP in tests/serving. */
const GPU_TOKENS = 3;
const BLOCKS = [7, 2, 9, 0, 4, 11, 1, 8, 3, 10, 6, 5];

for (const id of TRAINED_MODELS) {
  Deno.test(`parity with PyTorch: ${id} [cpu]`, () => checkParity(id, { device: "cpu" }));

  for (const device of GPU_PROVIDERS) {
    for (const profile of PROFILES) {
      Deno.test(`parity with PyTorch: ${id} [${device}, ${profile}]`, async () => {
        using gpu = await openTestGpu(device, { profile });
        if (!gpu) return;
        const halves = profile === "fast" && gpu.caps.matrixFragment !== undefined;
        await checkParity(id, { device, profile }, halves);
      });
    }
  }

  matrixUnitsTest(
    `parity with PyTorch: ${id}`,
    {},
    () => checkParity(id, { device: "dawn", profile: "fast" }, true),
  );
}

/** By where a prompt ends and steps begin: past the first squares, past the whole first window, and where several have been. */
const ONLINE_STEPS = [[40, 100], [110, 60], [1000, 40]];

Deno.test("Hyena's logits step by step: long convolutions online as directly, hyades-hyena-30m [cpu]", async () => {
  const { modelDir, expected: { prompts } } = await trainedModel("hyades-hyena-30m");
  const text = Array.from({ length: 11 }, () => prompts[2]).flat();
  const forms = (["direct", "online"] as const).map((longConvolutions) =>
    loadModel({ modelDir, device: "cpu", kvBytes: 2 ** 28, maxSequences: 4, longConvolutions })
  );
  const [direct, online] = await Promise.all(forms);
  await using _direct = direct.runner;
  await using _online = online.runner;
  equal(online.runner.longConvolutions?.form, "online");
  for (const [prompt, steps] of ONLINE_STEPS) {
    const wanted = await logitsOf(direct, text, prompt, steps);
    const error = logitError(
      await logitsOf(online, text, prompt, steps),
      wanted,
      direct.vocabSize,
      new Set(direct.suppressedTokens),
    );
    console.log(`  ${prompt} tokens, then ${steps}: largest ${error.largest.toExponential(1)}`);
    ok(error.largest <= 1e-4, `largest difference must be at most 1e-4, received ${error.largest}`);
  }
});

/** Of the rows that follow a prompt, each in a step of its own. */
async function logitsOf(
  { runner, vocabSize }: LoadedModel,
  text: readonly number[],
  promptLength: number,
  steps: number,
) {
  const blocks = Array.from({ length: Math.ceil(text.length / BLOCK_SIZE) }, (_, i) => i);
  const sequence = new TestSequence(text, blocks), logits = new Float32Array(steps * vocabSize);
  while (sequence.numCached < promptLength + steps) {
    const left = promptLength - sequence.numCached,
      count = Math.min(Math.max(1, left), runner.limits.maxTokens);
    const result = await runner.step({
      ...packBatch([{ sequence, count }]),
      stateSlots: Uint32Array.of(0),
      readLogits: left <= 0,
    });
    if (left <= 0) logits.set(result.logits!, -left * vocabSize);
    sequence.numCached += count;
  }
  return logits;
}

async function checkParity(
  id: (typeof TRAINED_MODELS)[number],
  backend: Backend,
  halves = false,
): Promise<void> {
  const { modelDir, expected } = await trainedModel(id);
  const model = await loadModel({ modelDir, ...backend, ...ROOMY, kvBytes: 2 ** 28 });
  await using _ = model.runner;
  await checkLogits(model, expected, halves ? HALVES_TOLERANCE : TOLERANCE);
  const all = backend.device === "cpu" || PROFILES.length > 1;
  await checkGreedy(model, expected, all ? expected.greedy.length : GPU_TOKENS, halves ? HALVES_TIE : 0);
}

async function checkLogits(
  { runner, vocabSize, suppressedTokens }: LoadedModel,
  { prompts, rows, logits }: Expected,
  most: number,
): Promise<void> {
  for (const [i, prompt] of prompts.entries()) {
    const sequence = new TestSequence(prompt, BLOCKS);
    const batch = packBatch([{ sequence, count: prompt.length }], { everyRow: true });
    const step = await runner.step({
      ...batch,
      stateSlots: Uint32Array.of(i),
      samples: batch.samples.slice(-rows[i]),
    });
    const { largest } = logitError(step.logits!, logits[i], vocabSize, new Set(suppressedTokens));
    console.log(`  ${prompt.length} tokens: largest ${largest.toExponential(1)}`);
    ok(largest <= most, `largest difference must be at most ${most}, received ${largest}`);
  }
}

/**
 * @param tie relative distance of two logits either of which may be taken for the largest
 */
async function checkGreedy(
  { runner }: LoadedModel,
  { prompts, greedyPrompt, greedy }: Expected,
  numTokens: number,
  tie: number,
): Promise<void> {
  const prompt = prompts[greedyPrompt], sequence = new TestSequence(prompt, BLOCKS);
  for (const [i, wanted] of greedy.slice(0, numTokens).entries()) {
    const count = sequence.tokens.length - sequence.numCached;
    const { tokenIds: [drawn], logits } = await runner.step({
      ...packBatch([{ sequence, count }]),
      stateSlots: Uint32Array.of(0),
      readLogits: tie > 0,
    });
    sequence.numCached += count;
    sequence.tokens.push(wanted);
    if (drawn === wanted) continue;
    ok(logits, `token ${i} must be ${wanted}, received ${drawn}`);
    const distance = Math.abs(logits[drawn] - logits[wanted]) / Math.max(...logits.map(Math.abs));
    ok(distance <= tie, `token ${i} must be ${wanted}, received ${drawn}, and not for a tie: ${distance}`);
  }
}
