// How much work a runner is built for: turns the user's wishes and the device's limits into `StepLimits`.
import type { Graph } from "../kernels/graph.ts";
import { BLOCK_SIZE, type StepLimits } from "../kernels/step.ts";

/** Where few sequences may run, a draft of one still has rows to be verified in: the longest and the token after it. */
const MIN_SAMPLES = 16;
/** Of what is left when each sequence has a state and one sequence its blocks: the share for states that are kept. */
const KEPT_SHARE = 1 / 2;
/** More states than one for so many tokens, */
const KEPT_BLOCKS = 256 / BLOCK_SIZE;
/** and for the ends of texts so many for each sequence that may run, would be of little use. */
const KEPT_PER_SEQUENCE = 4;
/** A step keeps at most one state for so many of its rows, and for each sequence so many more: whatever is wanted. */
const KEPT_WITHIN_ROWS = 256, KEPT_WITHIN_PER_SEQUENCE = 3;

export interface RunnerSizes {
  /** Bytes for the KV cache and the recurrent states of all sequences together. */
  readonly kvBytes: number;
  /** Token budget of a step; raised to `maxSequences`, so that every sequence that runs has a row in each. */
  readonly maxBatchTokens: number;
  /** Sequences that run at once. */
  readonly maxSequences: number;
  /** Bytes of host memory for blocks that have to give way on the device; none without it. */
  readonly hostBytes?: number;
}

export interface ModelSizes {
  readonly contextLength: number;
  /** 0 where no layer attends: then blocks are numbers only. */
  readonly kvBytesPerBlock: number;
  /** What recurrent layers keep of a sequence; 0 where there are none. */
  readonly stateBytes: number;
}

/** What the device can hold at most (binding limits). */
export interface DeviceRoom {
  readonly maxBlocks: number;
  readonly maxStateSlots: number;
  /** Whether states can be kept within a step's rows; else a step leaves those after the last ones alone. */
  readonly keepsWithin: boolean;
}

const ENDLESS: DeviceRoom = { maxBlocks: Infinity, maxStateSlots: Infinity, keepsWithin: false };

/** Bytes that the graph's recurrent layers keep of a sequence: f32 on every backend. */
export function stateBytesOf({ stateLayers }: Graph): number {
  return stateLayers.reduce((sum, { floats }) => sum + 4 * floats, 0);
}

/** What one sequence of full context takes, and a state for each sequence that may run. */
export function leastBytes(
  { maxSequences }: RunnerSizes,
  { contextLength, kvBytesPerBlock, stateBytes }: ModelSizes,
): number {
  return stateBytes * maxSequences + Math.ceil(contextLength / BLOCK_SIZE) * kvBytesPerBlock;
}

/**
 * A state for each sequence that may run comes first, then the blocks of one sequence; of what is left up to a half is for
 * states that are kept for others to go on from, and the rest for blocks. Host memory is for blocks, where there is anything
 * in them.
 * @throws {RangeError} when not even one sequence of full context fits.
 */
export function stepLimits(
  sizes: RunnerSizes,
  model: ModelSizes,
  { maxBlocks, maxStateSlots, keepsWithin }: DeviceRoom = ENDLESS,
): StepLimits {
  const maxBlocksPerSequence = Math.ceil(model.contextLength / BLOCK_SIZE);
  const { kvBytesPerBlock, stateBytes } = model, allStates = stateBytes * sizes.maxSequences;
  const least = leastBytes(sizes, model);
  if (sizes.kvBytes < least) {
    const states = allStates > 0 ? ` and the states of ${sizes.maxSequences} (--max-sequences)` : "";
    throw new RangeError(
      `Cannot load model: --kv-memory must be at least ${least} bytes, ` +
        `one sequence of ${model.contextLength} tokens${states}, received ${sizes.kvBytes}`,
    );
  }
  if (maxBlocks < maxBlocksPerSequence) {
    throw new RangeError(
      `Cannot load model: this adapter can bind ${maxBlocks} KV blocks a layer, a sequence of ${model.contextLength} tokens needs ${maxBlocksPerSequence}`,
    );
  }
  // More blocks than all sequences at full length can use would never be touched.
  const useful = maxBlocksPerSequence * sizes.maxSequences;
  const numBlocksIn = (bytes: number) =>
    Math.min(kvBytesPerBlock > 0 ? Math.floor(bytes / kvBytesPerBlock) : Infinity, maxBlocks, useful);
  const forBlocks = sizes.kvBytes - allStates, spare = sizes.kvBytes - least;
  const kept = stateBytes === 0 ? 0 : Math.max(
    0,
    Math.min(
      Math.floor((kvBytesPerBlock > 0 ? spare * KEPT_SHARE : spare) / stateBytes),
      Math.ceil(numBlocksIn(forBlocks) / KEPT_BLOCKS) + KEPT_PER_SEQUENCE * sizes.maxSequences,
      maxStateSlots - sizes.maxSequences,
    ),
  );
  const maxTokens = Math.max(sizes.maxBatchTokens, sizes.maxSequences);
  return {
    maxTokens,
    maxSequences: sizes.maxSequences,
    maxSamples: Math.max(sizes.maxSequences, MIN_SAMPLES),
    maxBlocksPerSequence,
    numBlocks: numBlocksIn(forBlocks - kept * stateBytes),
    numHostBlocks: kvBytesPerBlock > 0 ? Math.floor((sizes.hostBytes ?? 0) / kvBytesPerBlock) : 0,
    ...(stateBytes > 0 && { numStateSlots: sizes.maxSequences + kept }),
    ...(stateBytes > 0 && keepsWithin && {
      maxKeptStates: Math.ceil(maxTokens / KEPT_WITHIN_ROWS) + KEPT_WITHIN_PER_SEQUENCE * sizes.maxSequences,
    }),
  };
}
