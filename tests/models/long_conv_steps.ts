// Texts of H3 and Hyena models in steps, cut anywhere and batched with each other, and greedy continuations of them, on
// whatever computes a step.
import type { StepBatch } from "../../kernels/step.ts";
import { packBatch, TestSequence } from "./cpu_models.ts";
import { bestToken } from "./long_conv_cases.ts";

/** Logits of every row of a step. */
export type RunStep = (batch: StepBatch) => Promise<Float64Array> | Float64Array;

/** Blocks that a text may have. */
const TEXT_BLOCKS = 12;
/** The text's number, from here on, is its state's slot. */
const FIRST_SLOT = 5;

/** What two texts, computed together, need of a plan. */
export const LONG_CONV_LIMITS = {
  maxTokens: 256,
  maxSequences: 2,
  maxSamples: 256,
  maxBlocksPerSequence: TEXT_BLOCKS,
  numBlocks: 2 * TEXT_BLOCKS,
  numStateSlots: FIRST_SLOT + 2,
};

/** Logits of every row of both texts, computed together in steps of these numbers of rows of each. */
export async function runTogether(
  run: RunStep,
  vocabSize: number,
  texts: readonly (readonly number[])[],
  counts: readonly number[],
): Promise<Float64Array[]> {
  const sequences = texts.map((ids, i) =>
    new TestSequence(ids, Array.from({ length: TEXT_BLOCKS }, (_, block) => TEXT_BLOCKS * i + block))
  );
  const logits: number[][] = texts.map(() => []);
  for (let turn = 0; sequences.some(({ tokens, numCached }) => numCached < tokens.length); turn++) {
    const chunks = sequences.map((sequence, i) => ({
      sequence,
      slot: FIRST_SLOT + i,
      count: Math.min(counts[(turn + i) % counts.length], sequence.tokens.length - sequence.numCached),
      text: i,
    })).filter(({ count }) => count > 0);
    const output = await run(packStep(chunks));
    let row = 0;
    for (const { count, text } of chunks) {
      logits[text].push(...output.subarray(row * vocabSize, (row + count) * vocabSize));
      row += count;
    }
  }
  return logits.map((rows) => Float64Array.from(rows));
}

/** The `numWanted` likeliest tokens, one after the other, of the first `numTokens`. */
export async function continueGreedily(
  run: RunStep,
  vocabSize: number,
  prompt: readonly number[],
  { numWanted, numTokens }: { numWanted: number; numTokens: number },
): Promise<number[]> {
  const sequence = new TestSequence(prompt, [4, 2, 0, 5, 1, 3, 7, 8]), ids: number[] = [];
  let output = await run(packStep([{ sequence, count: prompt.length, slot: 3 }]));
  while (ids.length < numWanted) {
    ids.push(bestToken(output.subarray(-vocabSize), numTokens));
    sequence.tokens.push(ids.at(-1)!);
    output = await run(packStep([{ sequence, count: 1, slot: 3 }]));
  }
  return ids;
}

/** A step for the next `count` tokens of each sequence, whose state has the slot. */
function packStep(
  chunks: readonly { readonly sequence: TestSequence; readonly count: number; readonly slot: number }[],
): StepBatch {
  const batch = packBatch(chunks, { everyRow: true });
  for (const { sequence, count } of chunks) sequence.numCached += count;
  return { ...batch, stateSlots: Uint32Array.from(chunks, ({ slot }) => slot) };
}
