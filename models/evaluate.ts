// Measures a loaded model on text: the mean loss per token, by scoring through the same steps that serve requests.
import { BLOCK_SIZE, type SampleRequest, type StepBatch } from "../kernels/step.ts";
import type { ModelRunner } from "./runner.ts";

/** Loss over a text. `nats` is the mean of -ln p(token | tokens before it in its window). */
export interface Loss {
  readonly nats: number;
  readonly numTokens: number;
}

const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] } as const;

/**
 * Cuts the tokens into windows that fit the context and scores all but the first token of each.
 * @param onProgress called with the tokens scored and in all
 * @throws {RangeError} when there are fewer than two tokens: nothing would be scored
 */
export async function lossPerToken(
  runner: ModelRunner,
  tokenIds: Uint32Array,
  contextLength: number,
  onProgress: (done: number, total: number) => void = () => {},
): Promise<Loss> {
  if (tokenIds.length < 2) {
    throw new RangeError(
      `Cannot evaluate: the text must have at least 2 tokens, received ${tokenIds.length}`,
    );
  }
  let nats = 0, numTokens = 0;
  for (let start = 0; start + 1 < tokenIds.length; start += contextLength) {
    const window = tokenIds.subarray(start, start + contextLength);
    nats += await windowLoss(runner, window);
    numTokens += window.length - 1;
    onProgress(start + window.length, tokenIds.length);
  }
  return { nats: nats / numTokens, numTokens };
}

/** Sum of the losses of one window's tokens, prefilled in chunks as large as the runner takes. */
async function windowLoss(runner: ModelRunner, window: Uint32Array): Promise<number> {
  const { maxTokens, maxSamples } = runner.limits;
  const chunk = Math.min(maxTokens, maxSamples);
  let nats = 0;
  for (let start = 0; start + 1 < window.length; start += chunk) {
    const { scores } = await runner.step(scoringBatch(window, start, Math.min(chunk, window.length - start)));
    for (const score of scores) nats -= score!.logprob;
  }
  return nats;
}

/** Rows [start, start + count) of the window, as the only sequence; each row scores the token after it. */
function scoringBatch(window: Uint32Array, start: number, count: number): StepBatch {
  const numScored = Math.min(count, window.length - 1 - start);
  const positions = Uint32Array.from({ length: count }, (_, row) => start + row);
  const samples = Array.from({ length: numScored }, (_, row): SampleRequest => ({
    row,
    params: GREEDY,
    counter: start + row,
    topLogprobs: 0,
    target: window[start + row + 1],
  }));
  return {
    tokenIds: window.slice(start, start + count),
    positions,
    slotMapping: positions, // blocks 0, 1, 2 .. in order
    queryStart: Uint32Array.of(0, count),
    contextLengths: Uint32Array.of(start + count),
    blockTables: [Uint32Array.from({ length: Math.ceil((start + count) / BLOCK_SIZE) }, (_, i) => i)],
    samples,
  };
}
