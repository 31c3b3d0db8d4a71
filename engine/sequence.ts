// One sample of one request as the scheduler sees it: token ids, how far the KV cache has got, and the blocks that
// hold it. Knows no text and no client.
import { BLOCK_SIZE, type SamplingParams, type StepLimits } from "../kernels/step.ts";
import type { Flow } from "./fair_share.ts";
import type { HeldState } from "./held_state.ts";
import { type Priority, rankOf } from "./priority.ts";
import type { CachedBlock, CacheSpace, HeldCopy } from "./prefix_cache.ts";
import type { TokenConstraint } from "./token_constraint.ts";

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
  /** The first sample of the same request: this one waits until its prompt is computed. */
  readonly leader?: Sequence;
  /** Others have this one as their leader. */
  readonly leads?: boolean;
  /** Whose cached blocks it uses and adds to. Default: the leader's, or else the space that all share. */
  readonly cacheSpace?: CacheSpace;
  /** Default: live. */
  readonly priority?: Priority;
  /** Whose work it is. */
  readonly flow?: Flow;
  /** What may be drawn; the sequence disposes of it. */
  readonly constraint?: TokenConstraint | undefined;
  /** What to add to single logits before the token after these drafted ones is chosen. */
  readonly adjustments?: (drafted: readonly number[]) => readonly LogitAdjustment[];
  /** False: a token a step. Default true: as many as a draft has right, where the scheduler speculates. */
  readonly speculates?: boolean;
}

export interface LogitAdjustment {
  readonly id: number;
  readonly delta: number;
}

const NOBODY: Flow = { key: "", session: "" };

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
 * Only `scheduler.ts` and `places.ts` move `state`, `numComputed`, `blockTable`, `heldState` and what the cache is concerned
 * with.
 */
export class Sequence implements Disposable {
  readonly promptLength: number;
  readonly maxTokens: number;
  readonly params: SamplingParams;
  readonly topLogprobs: number;
  readonly leader: Sequence | undefined;
  readonly leads: boolean;
  readonly scoresPrompt: boolean;
  /** Of its class; 0 is the most urgent. */
  readonly rank: number;
  readonly flow: Flow;
  readonly speculates: boolean;
  state: SequenceState = "waiting";
  /** Order of arrival over all sequences of a scheduler: the smaller the number, the older. */
  arrival = -1;
  /** The scheduler's count of steps when it arrived. */
  queuedAt = -1;
  numComputed = 0;
  /** While it waits: tokens that it would have to compute before it draws, as the cache was when it was queued. */
  numExpected = 0;
  /** Prompt tokens whose score was asked for already; recomputing the prompt after a preemption scores none twice. */
  numScored: number;
  /** True once the whole prompt has been through the model, also if it was preempted since. */
  promptDone = false;
  blockTable: number[] = [];
  /** While it runs, where the model has recurrent layers: the slots with what they keep of it. */
  heldState: HeldState | undefined;
  /** Of the tokens drawn, those that go through the model again before the last one does: a draft after them was wrong. */
  numToRedo = 0;
  /** The last block of the table that has computed rows, as the prefix cache knows it. */
  lastCached: CachedBlock | undefined;
  /** The beginning of its next block, which it waits for before its own first rows. */
  pendingCopy: HeldCopy | undefined;
  /** Tokens of the prompt that were found in the cache when the sequence was first admitted. */
  numCachedTokens: number | undefined;
  /** Drafted tokens that went through the model for it, and those of them that were right and delivered. */
  numDrafted = 0;
  numAccepted = 0;
  readonly cacheSpace: CacheSpace;
  readonly #tokenIds: number[];
  readonly #adjustments: SequenceOptions["adjustments"];
  readonly #constraint: TokenConstraint | undefined;

  constructor(options: SequenceOptions) {
    this.#tokenIds = [...options.promptIds];
    this.promptLength = options.promptIds.length;
    this.maxTokens = options.maxTokens;
    this.params = options.params;
    this.topLogprobs = options.topLogprobs ?? -1;
    this.leader = options.leader;
    this.leads = options.leads ?? false;
    this.scoresPrompt = options.scorePrompt ?? false;
    this.rank = rankOf(options.priority ?? "live");
    this.flow = options.flow ?? NOBODY;
    this.cacheSpace = options.cacheSpace ?? options.leader?.cacheSpace ?? "";
    this.speculates = options.speculates ?? true;
    this.#adjustments = options.adjustments;
    this.#constraint = options.constraint;
    this.numScored = this.scoresPrompt ? 0 : this.promptLength - 1;
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

  /** Tokens that need not go through the model if their K and V are cached: not the last, nor what is to be scored. */
  get numReusable(): number {
    return this.numScored < this.promptLength - 1 ? this.numScored : this.numTokens - 1;
  }

  tokenId(index: number): number {
    return this.#tokenIds[index];
  }

  append(id: number) {
    this.#tokenIds.push(id);
    this.#constraint?.accept(id);
  }

  /** The next token may not be just any: it is drawn from a mask, one token a step. */
  get constrained(): boolean {
    return this.#constraint !== undefined && this.#constraint.next !== "any";
  }

  /** As `TokenConstraint.next`, with undefined for "any". */
  get allowed(): Uint32Array | "pending" | undefined {
    const next = this.#constraint?.next;
    return next === "any" ? undefined : next;
  }

  /** No token may follow. */
  get constraintEnded(): boolean {
    return this.#constraint?.ended ?? false;
  }

  /** Gives back what its constraint holds; once it is out of the schedule. */
  [Symbol.dispose]() {
    this.#constraint?.[Symbol.dispose]();
  }

  /** @param drafted tokens that are supposed to follow those there are */
  adjustments(drafted: readonly number[] = []): readonly LogitAdjustment[] {
    return this.#adjustments?.(drafted) ?? [];
  }
}
