// Decides what every step computes: continuous batching of decodes with chunks of new prompts under a budget of
// tokens, admission by free blocks, reuse of what is cached, preemption by recomputation. Pure: no device, no clock, no
// text.
import { MAX_ADJUSTMENTS } from "../kernels/control.ts";
import type { BlockCopy, StepLimits } from "../kernels/step.ts";
import { BlockPool } from "./block_pool.ts";
import { type CacheHit, type CacheSpace, numTokensOf, PrefixCache } from "./prefix_cache.ts";
import { blocksFor, type LogitAdjustment, type Sequence } from "./sequence.ts";

/** The rows that one sequence contributes to a step. */
export interface ScheduledSequence {
  readonly sequence: Sequence;
  /** Index in the sequence of the first token to compute. */
  readonly start: number;
  readonly numTokens: number;
  /** To be done before the first row: it reads the copied ones. */
  readonly copy?: BlockCopy;
  /** The last row yields the next token. */
  readonly draws: boolean;
  /** Rows [scoreStart, scoreEnd), by index in the sequence, score the prompt token that follows them. */
  readonly scoreStart: number;
  readonly scoreEnd: number;
  /** For the draw. */
  readonly adjustments: readonly LogitAdjustment[];
}

interface Budget {
  tokens: number;
  samples: number;
  adjustments: number;
}

/**
 * Sequences are served in order of arrival. `running` is sorted by it, and everything in `waiting` is younger than
 * everything that runs: a preempted sequence is the youngest that ran and goes to the head of the queue. So the
 * oldest sequence always makes progress, and nobody starves.
 */
export class Scheduler {
  readonly #pool: BlockPool;
  readonly #cache: PrefixCache;
  readonly #limits: StepLimits;
  /** Few enough that each running sequence gets a row and a sample in every step. */
  readonly #maxRunning: number;
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];
  #arrivals = 0;
  #preemptions = 0;

  constructor(limits: StepLimits) {
    this.#limits = limits;
    this.#maxRunning = Math.min(limits.maxSequences, limits.maxTokens, limits.maxSamples);
    if (this.#maxRunning < 1) {
      throw new RangeError("Cannot make scheduler: every step limit must be at least 1");
    }
    this.#pool = new BlockPool(limits.numBlocks);
    this.#cache = new PrefixCache(this.#pool);
  }

  get waiting(): readonly Sequence[] {
    return this.#waiting;
  }

  get running(): readonly Sequence[] {
    return this.#running;
  }

  get numPreemptions(): number {
    return this.#preemptions;
  }

  get numBlocks(): number {
    return this.#pool.numBlocks;
  }

  /** Blocks that no sequence holds, those that still hold cached tokens included. */
  get numFreeBlocks(): number {
    return this.#cache.numAvailable;
  }

  /** Blocks that hold cached tokens and that no sequence holds. */
  get numCachedBlocks(): number {
    return this.#cache.numUnused;
  }

  /** How many of a prompt's tokens would be taken from the cache if it were admitted now. */
  countCached(space: CacheSpace, promptIds: readonly number[]): number {
    const tokens = { tokenId: (index: number) => promptIds[index] };
    return numTokensOf(this.#cache.find(space, tokens, promptIds.length - 1));
  }

  /**
   * Queues a sequence behind all others.
   * @throws {RangeError} when its prompt and its completion would not fit an empty pool: it could wait for ever
   */
  add(sequence: Sequence) {
    const blocks = blocksFor(sequence.promptLength + sequence.maxTokens);
    const most = Math.min(this.#limits.maxBlocksPerSequence, this.#limits.numBlocks);
    if (blocks > most) {
      throw new RangeError(
        `Cannot queue sequence: it must fit ${most} blocks, its full length needs ${blocks}`,
      );
    }
    sequence.arrival = this.#arrivals++;
    sequence.state = "waiting";
    this.#waiting.push(sequence);
  }

  /** The next step, empty only when there is nothing to do. Its sequences must be passed to `complete` or `finish`. */
  schedule(): ScheduledSequence[] {
    const budget: Budget = {
      tokens: this.#limits.maxTokens,
      samples: this.#limits.maxSamples,
      adjustments: MAX_ADJUSTMENTS,
    };
    const step: ScheduledSequence[] = [];
    const decodes = this.#running.filter((sequence) => sequence.numUncomputed === 1);
    const prefills = this.#running.filter((sequence) => sequence.numUncomputed > 1);
    for (const sequence of decodes) {
      if (sequence.state === "running" && this.#reserve(sequence)) take(sequence, budget, step);
    }
    for (const sequence of prefills) if (sequence.state === "running") take(sequence, budget, step);
    while (budget.tokens > 0 && budget.samples > 0) {
      const admitted = this.#admit();
      if (!admitted) break;
      take(admitted, budget, step);
    }
    return step;
  }

  /** Records that the step's rows are computed. Sequences that finished meanwhile keep out of it. */
  complete(step: readonly ScheduledSequence[]) {
    for (const { sequence, start, numTokens, scoreEnd } of step) {
      if (sequence.state !== "running") continue;
      sequence.numComputed = start + numTokens;
      sequence.numScored = Math.max(sequence.numScored, scoreEnd);
      if (sequence.numComputed >= sequence.promptLength) sequence.promptDone = true;
      this.#releaseCopy(sequence);
      const { cacheSpace, lastCached, numComputed, blockTable } = sequence;
      sequence.lastCached = this.#cache.record(cacheSpace, lastCached, sequence, numComputed, blockTable);
    }
  }

  /** Takes a sequence out, wherever it is, and frees its blocks; a second call does nothing. */
  finish(sequence: Sequence) {
    if (sequence.state === "finished") return;
    const list = sequence.state === "running" ? this.#running : this.#waiting;
    const index = list.indexOf(sequence);
    if (index >= 0) list.splice(index, 1);
    this.#release(sequence);
    sequence.state = "finished";
  }

  /** @throws {Error} when a block is lost, held twice, or cached and held by whom the cache does not know */
  checkIntegrity() {
    const copied = this.#running.flatMap(({ pendingCopy }) => pendingCopy ? [[pendingCopy.from]] : []);
    this.#cache.checkIntegrity([...this.#running.map(({ blockTable }) => blockTable), ...copied]);
  }

  /** Makes room for all tokens of a running sequence, at the cost of the youngest. False: it was the youngest itself. */
  #reserve(sequence: Sequence): boolean {
    const missing = blocksFor(sequence.numTokens) - sequence.blockTable.length;
    if (missing <= 0) return true;
    for (;;) {
      const blocks = this.#cache.allocate(missing);
      if (blocks) {
        sequence.blockTable.push(...blocks);
        return true;
      }
      const youngest = this.#running[this.#running.length - 1];
      this.#preempt(youngest);
      if (youngest === sequence) return false;
    }
  }

  #preempt(sequence: Sequence) {
    this.#running.pop();
    this.#release(sequence);
    sequence.state = "waiting";
    this.#waiting.unshift(sequence);
    this.#preemptions++;
  }

  /** Lets go of the sequence's blocks; those with computed rows stay cached. */
  #release(sequence: Sequence) {
    this.#releaseCopy(sequence);
    const { blockTable, lastCached } = sequence;
    this.#cache.releasePath(lastCached);
    this.#pool.free(blockTable.slice(lastCached ? lastCached.index + 1 : 0));
    sequence.blockTable = [];
    sequence.lastCached = undefined;
    sequence.numComputed = 0;
  }

  #releaseCopy(sequence: Sequence) {
    if (sequence.pendingCopy) this.#cache.release(sequence.pendingCopy.source);
    sequence.pendingCopy = undefined;
  }

  /** Moves the head of the queue to running, with blocks for all its tokens, when there is room for it. */
  #admit(): Sequence | undefined {
    const sequence = this.#waiting[0];
    if (!sequence || this.#running.length >= this.#maxRunning) return undefined;
    const { leader } = sequence;
    if (leader && !leader.promptDone && leader.state !== "finished") return undefined;
    const found = this.#cache.find(sequence.cacheSpace, sequence, sequence.numReusable);
    // A copy needs a block more for as long as it takes, which may be the one that is missing.
    const hit = [found, { ...found, copy: undefined }].find((hit) => this.#hasRoom(sequence, hit));
    if (!hit) return undefined;
    this.#waiting.shift();
    this.#start(sequence, hit);
    this.#running.push(sequence);
    return sequence;
  }

  /** One block spare for each that runs, or the newcomer would be preempted as soon as they grow. */
  #hasRoom(sequence: Sequence, hit: CacheHit): boolean {
    const missing = blocksFor(sequence.numTokens) - hit.numBlocks;
    return missing + this.#running.length <= this.#cache.numAvailable - this.#cache.numUnusedIn(hit);
  }

  #start(sequence: Sequence, hit: CacheHit) {
    const shared = this.#cache.holdPath(hit.last);
    if (hit.copy) this.#cache.hold(hit.copy.source);
    const own = this.#cache.allocate(blocksFor(sequence.numTokens) - shared.length)!;
    sequence.blockTable = [...shared, ...own];
    sequence.lastCached = hit.last;
    sequence.pendingCopy = hit.copy && { ...hit.copy, from: hit.copy.source.block, to: own[0] };
    sequence.numComputed = numTokensOf(hit);
    sequence.numCachedTokens ??= sequence.numComputed;
    sequence.state = "running";
  }
}

/** Adds as many of the sequence's next tokens to the step as the budget allows, perhaps none. */
function take(sequence: Sequence, budget: Budget, step: ScheduledSequence[]) {
  const start = sequence.numComputed;
  const scoreStart = Math.max(start, sequence.numScored);
  const scoreLimit = Math.max(scoreStart, sequence.promptLength - 1);
  let end = Math.min(sequence.numTokens, start + budget.tokens);
  let scoreEnd = Math.max(scoreStart, Math.min(end, scoreLimit));
  if (scoreEnd - scoreStart > budget.samples) end = scoreEnd = scoreStart + budget.samples;
  let adjustments: readonly LogitAdjustment[] = [];
  let draws = end === sequence.numTokens && sequence.numGenerated < sequence.maxTokens;
  if (draws) {
    adjustments = sequence.adjustments();
    const fits = scoreEnd - scoreStart < budget.samples &&
      (adjustments.length <= budget.adjustments || step.length === 0);
    // Without room for the draw its row waits for the next step; the rows before it need not.
    if (!fits) [end, draws, adjustments] = [end - 1, false, []];
  }
  if (end <= start) return;
  const samples = scoreEnd - scoreStart + (draws ? 1 : 0);
  budget.tokens -= end - start;
  budget.samples -= samples;
  budget.adjustments -= adjustments.length;
  const copy = sequence.pendingCopy ? { copy: sequence.pendingCopy } : {};
  step.push({ sequence, start, numTokens: end - start, ...copy, draws, scoreStart, scoreEnd, adjustments });
}
