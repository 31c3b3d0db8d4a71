// Every backend computes what transformers computes: logits of whole prompts, and greedy continuations of 64 tokens.
import { deepStrictEqual, ok } from "node:assert/strict";
import { loadModel } from "../../models/load_model.ts";
import type { LoadedModel } from "../../models/loaded_model.ts";
import { GPU_PROVIDERS, openTestGpu } from "../gpus.ts";
import { packBatch, TestSequence } from "./cpu_models.ts";
import { logitError } from "./logit_error.ts";
import { type Expected, PARITY_CASES, type ParityCase, readExpected } from "./parity_cases.ts";

const PROFILES = ["safe", "fast"] as const;

interface Backend {
  readonly device: "cpu" | "onnx" | typeof GPU_PROVIDERS[number];
  readonly profile?: typeof PROFILES[number];
}

const BACKENDS: readonly Backend[] = [
  { device: "cpu" },
  { device: "onnx" },
  ...GPU_PROVIDERS.flatMap((device) => PROFILES.map((profile) => ({ device, profile }))),
];

for (const backend of BACKENDS) {
  const name = [backend.device, backend.profile].filter(Boolean).join(", ");
  for (const parityCase of PARITY_CASES) {
    Deno.test(`parity with transformers: ${parityCase.name} [${name}]`, async () => {
      const found = await lookFor(backend);
      if (!found) return;
      const rounds = parityCase.storage === "f16" || found.matrixUnits;
      const expected = await readExpected(parityCase);
      const model = await load(parityCase, backend);
      await using _ = model.runner;
      await checkLogits(model, expected, rounds);
      // Greedy tokens follow a prompt; where that is rounded, near ties may fall either way.
      if (!rounds) await checkGreedy(model, expected);
    });
  }
}

/** Undefined where there is nothing to run on. Matrix units take rows of a prompt in f16, whatever the weights are. */
async function lookFor({ device, profile }: Backend): Promise<{ readonly matrixUnits: boolean } | undefined> {
  if (device === "cpu" || device === "onnx") return { matrixUnits: false };
  using gpu = await openTestGpu(device);
  return gpu && { matrixUnits: profile === "fast" && gpu.caps.matrixFragment !== undefined };
}

async function load({ modelDir, kvType }: ParityCase, backend: Backend): Promise<LoadedModel> {
  // Enough for one sequence; room for all rows of logits that the fixtures keep.
  const sizes = { kvBytes: 2 ** 26, maxSequences: 32 };
  return await loadModel({ modelDir, ...backend, ...sizes, ...(kvType && { kvType }) });
}

/** @param rounds activations or the cache are f16 */
async function checkLogits(
  { runner, vocabSize, suppressedTokens }: LoadedModel,
  { prompts, rows, logits }: Expected,
  rounds: boolean,
): Promise<void> {
  const suppressed = new Set(suppressedTokens);
  for (const [i, prompt] of prompts.entries()) {
    const batch = packBatch([{ sequence: newSequence(prompt), count: prompt.length }], { everyRow: true });
    const step = await runner.step({ ...batch, samples: batch.samples.slice(-rows[i]) });
    const error = logitError(step.logits!, logits[i], vocabSize, suppressed);
    console.log(
      `  ${prompt.length} tokens: largest ${error.largest.toExponential(1)}, L2 ${error.l2.toExponential(1)}`,
    );
    if (rounds) ok(error.l2 <= 5e-3, `relative L2 must be at most 5e-3, received ${error.l2}`);
    else ok(error.largest <= 1e-4, `largest difference must be at most 1e-4, received ${error.largest}`);
  }
}

async function checkGreedy({ runner }: LoadedModel, expected: Expected): Promise<void> {
  const prompt = expected.prompts[expected.greedyPrompt];
  const sequence = newSequence(prompt);
  for (let i = 0; i < expected.greedy.length; i++) {
    const count = sequence.tokens.length - sequence.numCached;
    const { tokenIds } = await runner.step({ ...packBatch([{ sequence, count }]), readLogits: false });
    sequence.numCached += count;
    sequence.tokens.push(tokenIds[0]);
  }
  deepStrictEqual(sequence.tokens.slice(prompt.length), [...expected.greedy]);
}

/** A sequence whose blocks lie in no order, as in a cache that has been in use. */
function newSequence(prompt: readonly number[]): TestSequence {
  return new TestSequence(prompt, [7, 2, 9, 0, 4, 11, 1, 8, 3, 10, 6, 5]);
}
