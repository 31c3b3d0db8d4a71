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
import { checkGreedy, checkLogits, F32_TOLERANCE, HALVES_TIE, type Tolerance } from "./parity_checks.ts";
import { ROOMY } from "./shared_sizes.ts";
import { TRAINED_MODELS, trainedModel } from "./trained_cases.ts";

type Backend = Pick<LoadOptions, "device" | "profile">;

/** Where matrix units read activations in f16. */
const HALVES_TOLERANCE: Tolerance = { largest: 1e-2 };
/** Set where a GPU runs the tests (bench/gpu/suites.sh): software compiles the fast profile's kernels for minutes. */
const PROFILES = EVERY_CASE ? ["safe", "fast"] as const : ["safe"] as const;
/** Greedy tokens that software is asked for: it takes a second for each, and more are drawn over HTTP in tests/serving. */
const GPU_TOKENS = 3;

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
  await checkLogits(model, expected, halves ? HALVES_TOLERANCE : F32_TOLERANCE);
  const numTokens = backend.device === "cpu" || EVERY_CASE ? Infinity : GPU_TOKENS;
  await checkGreedy(model, expected, { numTokens, tie: halves ? HALVES_TIE : 0 });
}
