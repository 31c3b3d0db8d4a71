// Whether a loaded model computes what a reference does: logits of whole prompts, and greedy tokens, prefill and then step
// by step.
import { ok } from "node:assert/strict";
import type { LoadedModel } from "../../models/loaded_model.ts";
import { packBatch, TestSequence } from "./cpu_models.ts";
import { type LogitError, logitError } from "./logit_error.ts";
import type { Expected } from "./parity_cases.ts";

/** Most difference of logits, by one of the measures of logitError(). */
export type Tolerance = { readonly [measure in keyof LogitError]?: number };

/** As small as f32 makes differences. */
export const F32_TOLERANCE: Tolerance = { largest: 1e-4 };
/** Distance of two logits that activations rounded to f16 may swap, relative to the largest |logit|. */
export const HALVES_TIE = 1e-3;

/** In no order, as in a cache that has been in use. */
const BLOCKS = [7, 2, 9, 0, 4, 11, 1, 8, 3, 10, 6, 5];

export async function checkLogits(
  { runner, vocabSize, suppressedTokens }: LoadedModel,
  { prompts, rows, logits }: Expected,
  tolerance: Tolerance,
): Promise<void> {
  const suppressed = new Set(suppressedTokens);
  for (const [i, prompt] of prompts.entries()) {
    const sequence = new TestSequence(prompt, BLOCKS);
    const batch = packBatch([{ sequence, count: prompt.length }], { everyRow: true });
    const step = await runner.step({
      ...batch,
      stateSlots: Uint32Array.of(i),
      samples: batch.samples.slice(-rows[i]),
    });
    const error = logitError(step.logits!, logits[i], vocabSize, suppressed);
    console.log(
      `  ${prompt.length} tokens: largest ${error.largest.toExponential(1)}, L2 ${error.l2.toExponential(1)}`,
    );
    for (const measure of ["largest", "l2"] as const) {
      const most = tolerance[measure] ?? Infinity;
      ok(error[measure] <= most, `${measure} difference must be at most ${most}, received ${error[measure]}`);
    }
  }
}

/** @param tie distance of two logits, relative to the largest |logit|, either of which may be taken for the larger one */
export async function checkGreedy(
  { runner }: LoadedModel,
  { prompts, greedyPrompt, greedy }: Expected,
  { tie, numTokens }: { readonly tie: number; readonly numTokens: number },
): Promise<void> {
  const sequence = new TestSequence(prompts[greedyPrompt], BLOCKS);
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
    console.log(`  token ${i} fell the other way at a distance of ${distance.toExponential(1)}`);
    ok(distance <= tie, `token ${i} must be ${wanted}, received ${drawn}, and not for a tie: ${distance}`);
  }
}
