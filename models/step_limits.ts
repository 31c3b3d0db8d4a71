// How much work a runner is built for: turns the user's wishes and the device's limits into `StepLimits`.
import { BLOCK_SIZE, type StepLimits } from "../kernels/step.ts";

/** Where few sequences may run, a draft of one still has rows to be verified in: the longest and the token after it. */
const MIN_SAMPLES = 16;

export interface RunnerSizes {
  /** Bytes for the KV cache of all sequences together. */
  readonly kvBytes: number;
  /** Token budget of a step; raised to `maxSequences`, so that every sequence that runs has a row in each. */
  readonly maxBatchTokens: number;
  /** Sequences that run at once. */
  readonly maxSequences: number;
  /** Bytes of host memory for blocks that have to give way on the device; none without it. */
  readonly hostBytes?: number;
}

/**
 * @param maxBlocks blocks that the device can hold at most (binding limits)
 * @throws {RangeError} when not even one sequence of full context fits.
 */
export function stepLimits(
  sizes: RunnerSizes,
  model: { readonly contextLength: number; readonly kvBytesPerBlock: number },
  maxBlocks = Infinity,
): StepLimits {
  const maxBlocksPerSequence = Math.ceil(model.contextLength / BLOCK_SIZE);
  const affordable = Math.floor(sizes.kvBytes / model.kvBytesPerBlock);
  if (affordable < maxBlocksPerSequence) {
    throw new RangeError(
      `Cannot load model: --kv-memory must be at least ${
        maxBlocksPerSequence * model.kvBytesPerBlock
      } bytes, ` +
        `one sequence of ${model.contextLength} tokens, received ${sizes.kvBytes}`,
    );
  }
  if (maxBlocks < maxBlocksPerSequence) {
    throw new RangeError(
      `Cannot load model: this adapter can bind ${maxBlocks} KV blocks a layer, a sequence of ${model.contextLength} tokens needs ${maxBlocksPerSequence}`,
    );
  }
  // More blocks than all sequences at full length can use would never be touched.
  const useful = maxBlocksPerSequence * sizes.maxSequences;
  return {
    maxTokens: Math.max(sizes.maxBatchTokens, sizes.maxSequences),
    maxSequences: sizes.maxSequences,
    maxSamples: Math.max(sizes.maxSequences, MIN_SAMPLES),
    maxBlocksPerSequence,
    numBlocks: Math.min(affordable, maxBlocks, useful),
    numHostBlocks: Math.floor((sizes.hostBytes ?? 0) / model.kvBytesPerBlock),
  };
}
