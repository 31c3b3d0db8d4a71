// One sample of one request as the scheduler sees it: token ids, how far the KV cache has got, and the blocks that
// hold it. Knows no text and no client.
import { BLOCK_SIZE, type SamplingParams, type StepLimits } from "../kernels/step.ts";

/** waiting: holds no blocks. running: admitted, holds blocks for all its tokens. finished: done, failed or cancelled. */
export type SequenceState = "waiting" | "running" | "finished";

export interface SequenceOptions {
  readonly promptIds: readonly number[];
  /** Most new tokens; 0 computes the prompt only. */
  readonly maxTokens: number;
  readonly params: SamplingParams;
  /** As `SampleRequest.topLogprobs`, for new tokens and for scored prompt tokens alike. */
  readonly topLogprobs?: number;
  /** Score the prompt's tokens against the model on the way. */
  readonly scorePrompt?: boolean;
  /** The first sample of the same request; this one waits until that prompt is computed, then shares its blocks. */
  readonly leader?: Sequence;
  /** What to add to single logits before the next token is chosen. */
  readonly adjustments?: () => readonly LogitAdjustment[];
}

export interface LogitAdjustment {
  readonly id: number;
  readonly delta: number;
}

/** Blocks that hold `numTokens` tokens. */
export function blocksFor(numTokens: number): number {
  return Math.ceil(numTokens / BLOCK_SIZE);
}

/** Most tokens that one sequence can hold under `limits`. */
export function maxSequenceTokens(limits: StepLimits): number {
  return Math.min(limits.maxBlocksPerSequence, limits.numBlocks) * BLOCK_SIZE;
}

/**
 * Lengths, in tokens:
 *
 *     | computed: K and V are in blocks | not yet computed |
 *     0                       numComputed          numTokens
 *     | prompt               | generated                   |
 *     0           promptLength                     numTokens
 *
 * Only `scheduler.ts` moves `state`, `numComputed` and `blockTable`.
 */
export class Sequence {
  readonly promptLength: number;
  readonly maxTokens: number;
  readonly params: SamplingParams;
  readonly topLogprobs: number;
  readonly leader: Sequence | undefined;
  state: SequenceState = "waiting";
  /** Order of arrival over all sequences of a scheduler: the smaller the number, the older. */
  arrival = -1;
  numComputed = 0;
  /** Prompt tokens whose score was asked for already; recomputing the prompt after a preemption scores none twice. */
  numScored: number;
  /** True once the whole prompt has been through the model, also if it was preempted since. */
  promptDone = false;
  blockTable: number[] = [];
  readonly #tokenIds: number[];
  readonly #adjustments: SequenceOptions["adjustments"];

  constructor(options: SequenceOptions) {
    this.#tokenIds = [...options.promptIds];
    this.promptLength = options.promptIds.length;
    this.maxTokens = options.maxTokens;
    this.params = options.params;
    this.topLogprobs = options.topLogprobs ?? -1;
    this.leader = options.leader;
    this.#adjustments = options.adjustments;
    this.numScored = options.scorePrompt ? 0 : this.promptLength - 1;
  }

  get numTokens(): number {
    return this.#tokenIds.length;
  }

  get numGenerated(): number {
    return this.#tokenIds.length - this.promptLength;
  }

  get numUncomputed(): number {
    return this.#tokenIds.length - this.numComputed;
  }

  /** Blocks at the start of the prompt that samples of the same request share: full ones, less the last token's. */
  get numShareableBlocks(): number {
    return Math.floor((this.promptLength - 1) / BLOCK_SIZE);
  }

  tokenId(index: number): number {
    return this.#tokenIds[index];
  }

  append(id: number) {
    this.#tokenIds.push(id);
  }

  adjustments(): readonly LogitAdjustment[] {
    return this.#adjustments?.() ?? [];
  }
}
