// Decides what every step computes: decodes with chunks of new prompts under a budget of tokens, the more urgent class
// first, fair shares within a class, a place for the oldest of all; reuse of what is cached, preemption by
// recomputation. Pure: no device, no clock (it counts its own steps), no text. The rules: docs/scheduling.md.
import { MAX_ADJUSTMENTS } from "../kernels/control.ts";
import type { StepLimits } from "../kernels/step.ts";
import { BlockPool } from "./block_pool.ts";
import { FairShare, type Flow } from "./fair_share.ts";
import { type CacheHit, type CacheSpace, numTokensOf, PrefixCache } from "./prefix_cache.ts";
import { PRIORITIES } from "./priority.ts";
import { blocksFor, type Sequence } from "./sequence.ts";
import { type ScheduledSequence, type StepBudget, take } from "./step_budget.ts";

export type { ScheduledSequence };

/** Steps after which the oldest sequence comes before all others, whatever its class. */
export const PATIENCE_STEPS = 64;
/** Parts of the step's budget, and of the chunk: see docs/scheduling.md for why these. */
const CHUNKS_PER_STEP = 4;
const ELDER_SHARE = 4;
const BACKGROUND_SHARE = 16;
/** Steps with live work, of which one has rows for other work too. */
export const BACKGROUND_EVERY = 8;

export interface SchedulerOptions {
  /** Most prompt tokens in a step beside decodes. Default: a quarter of the step's budget. */
  readonly chunkTokens?: number;
}

/** A step in the making. */
interface Plan {
  readonly step: ScheduledSequence[];
  readonly budget: StepBudget;
  readonly elder: Sequence | undefined;
  /** False once somebody more urgent waits for a place. */
  admits: boolean;
}

/** Sequences in each list are in order of arrival. */
export class Scheduler {
  readonly #pool: BlockPool;
  readonly #cache: PrefixCache;
  readonly #limits: StepLimits;
  /** Few enough that each running sequence gets a row and a sample in every step. */
  readonly #maxRunning: number;
  readonly #chunkTokens: number;
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];
  /** By rank. */
  readonly #shares = PRIORITIES.map(() => new FairShare());
  #arrivals = 0;
  #steps = 0;
  #preemptions = 0;

  /** @throws {RangeError} for limits or a chunk of less than 1 */
  constructor(limits: StepLimits, options: SchedulerOptions = {}) {
    this.#limits = limits;
    this.#maxRunning = Math.min(limits.maxSequences, limits.maxTokens, limits.maxSamples);
    if (this.#maxRunning < 1) {
      throw new RangeError("Cannot make scheduler: every step limit must be at least 1");
    }
    const { chunkTokens = Math.ceil(limits.maxTokens / CHUNKS_PER_STEP) } = options;
    if (!(chunkTokens >= 1)) {
      throw new RangeError(`Cannot make scheduler: chunkTokens must be at least 1, received ${chunkTokens}`);
    }
    this.#chunkTokens = chunkTokens;
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
   * Queues a sequence.
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
    sequence.queuedAt = this.#steps;
    sequence.state = "waiting";
    this.#waiting.push(sequence);
  }

  /** The next step, empty only when there is nothing to do. Its sequences must be passed to `complete` or `finish`. */
  schedule(): ScheduledSequence[] {
    this.#steps++;
    const budget: StepBudget = {
      tokens: this.#limits.maxTokens,
      samples: this.#limits.maxSamples,
      adjustments: MAX_ADJUSTMENTS,
    };
    const step: ScheduledSequence[] = [];
    const elder = this.#placeElder();
    this.#reserveDecodes(elder);
    const plan: Plan = { step, budget, elder, admits: true };
    const turn = elder !== undefined && (elder.rank === 0 || this.#isBackgroundTurn);
    if (turn && isDecode(elder)) take(elder, budget, step);
    for (const one of this.#running) {
      if (one.rank === 0 && isDecode(one) && one !== elder) take(one, budget, step);
    }
    if (turn && !isDecode(elder)) take(elder, budget, step, this.#elderRows(elder));
    this.#share(0, step.length > 0 ? this.#chunkTokens : budget.tokens, plan);
    this.#serveBackground(plan, turn);
    return step;
  }

  /** Beside live work, whatever else there is has every eighth step only: each row would hold up whoever waits. */
  get #isBackgroundTurn(): boolean {
    return this.#steps % BACKGROUND_EVERY === 0;
  }

  /** All but live work: a chunk and every decode; beside live work, a few rows now and then. */
  #serveBackground(plan: Plan, elderServed: boolean) {
    const { step, budget, elder } = plan;
    const besideLive = step.some(({ sequence }) => sequence.rank === 0 && sequence !== elder);
    let rows = besideLive ? Math.ceil(this.#chunkTokens / BACKGROUND_SHARE) : this.#chunkTokens;
    if (besideLive && !this.#isBackgroundTurn) return;
    if (elder && !elderServed) take(elder, budget, step, this.#chunkTokens);
    if (!besideLive) {
      const decodes = this.#running.filter((one) => one.rank > 0 && isDecode(one) && one !== elder);
      for (const sequence of decodes) take(sequence, budget, step);
    }
    for (let rank = 1; rank < PRIORITIES.length; rank++) rows -= this.#share(rank, rows, plan);
  }

  /** Gives out at most `most` rows within a class, a chunk at a time to whoever was given least. @returns how many */
  #share(rank: number, most: number, plan: Plan): number {
    const { step, budget, elder } = plan;
    const shares = this.#shares[rank];
    const taken = new Set(step.map(({ sequence }) => sequence));
    const candidates = [...this.#running, ...this.#waiting].filter((one) =>
      one.rank === rank && one !== elder && !taken.has(one) && (one.state === "running" || isReady(one)) &&
      (rank > 0 || !isDecode(one))
    );
    shares.contend(candidates.map(({ flow }) => flow));
    const blocked = new Set<string>(), wanting: Flow[] = [];
    let rows = 0;
    while (candidates.length > 0 && rows < most && budget.tokens > 0) {
      const next = candidates.reduce((a, b) => isBefore(shares, b, a) ? b : a);
      candidates.splice(candidates.indexOf(next), 1);
      const mayRun = plan.admits && !blocked.has(next.flow.key); // No overtaking within a key.
      if (next.state === "waiting" && !(mayRun && this.#makePlace(next, plan))) {
        blocked.add(next.flow.key);
        wanting.push(next.flow);
        continue;
      }
      const count = take(next, budget, step, most - rows);
      shares.charge(next.flow, count);
      rows += count;
      if (rank > 0 || next.numUncomputed > count) wanting.push(next.flow);
    }
    // Who has all it wanted is as good as new when it comes again.
    shares.contend([...wanting, ...candidates.map(({ flow }) => flow)]);
    // What a class waits for, the classes below it must not take.
    if (blocked.size > 0) plan.admits = false;
    return rows;
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

  /** The oldest of all, once it has waited for long: it runs, at whosever cost. */
  #placeElder(): Sequence | undefined {
    const [a, b] = [this.#running[0], this.#waiting[0]];
    const oldest = !a || b && b.arrival < a.arrival ? b : a;
    if (!oldest || this.#steps - oldest.queuedAt <= PATIENCE_STEPS) return undefined;
    while (oldest.state === "waiting" && !this.#admit(oldest)) this.#preempt(this.#leastUrgent(oldest)!);
    return oldest;
  }

  /** A whole chunk where nobody looks at the cursor meanwhile. */
  #elderRows(elder: Sequence): number {
    const live = [...this.#running, ...this.#waiting].some((one) => one.rank === 0 && one !== elder);
    return live ? Math.ceil(this.#chunkTokens / ELDER_SHARE) : this.#chunkTokens;
  }

  /** A block for the next token of all that decode, the more urgent and the older first. */
  #reserveDecodes(elder: Sequence | undefined) {
    const decodes = this.#running.filter(isDecode).sort((a, b) =>
      Number(b === elder) - Number(a === elder) || a.rank - b.rank || a.arrival - b.arrival
    );
    for (const sequence of decodes) if (sequence.state === "running") this.#reserve(sequence, elder);
  }

  #reserve(sequence: Sequence, elder: Sequence | undefined) {
    const missing = blocksFor(sequence.numTokens) - sequence.blockTable.length;
    while (missing > 0 && sequence.state === "running") {
      const blocks = this.#cache.allocate(missing);
      if (blocks) return void sequence.blockTable.push(...blocks);
      this.#preempt(this.#leastUrgent(elder)!);
    }
  }

  /** Of the least urgent class that runs, the youngest. */
  #leastUrgent(except: Sequence | undefined): Sequence | undefined {
    const others = this.#running.filter((one) => one !== except);
    return others.reduce<Sequence | undefined>((a, b) => a && a.rank > b.rank ? a : b, undefined);
  }

  /** Admits a sequence, if need be in the place of others. False: it has to wait. */
  #makePlace(sequence: Sequence, { step, elder }: Plan): boolean {
    while (!this.#admit(sequence)) {
      const victim = this.#victimOf(sequence, elder);
      if (!victim) return false;
      this.#preempt(victim);
      const index = step.findIndex((scheduled) => scheduled.sequence === victim);
      if (index >= 0) step.splice(index, 1);
    }
    return true;
  }

  /** Who makes place for a sequence: a less urgent one, or the youngest of a key with at least two more that run. */
  #victimOf(sequence: Sequence, elder: Sequence | undefined): Sequence | undefined {
    const least = this.#leastUrgent(elder);
    if (!least || least.rank > sequence.rank) return least;
    const peers = Map.groupBy(
      this.#running.filter(({ rank }) => rank === sequence.rank),
      ({ flow }) => flow.key,
    );
    const own = peers.get(sequence.flow.key)?.length ?? 0;
    const richest = [...peers.values()].reduce<Sequence[]>((a, b) => b.length > a.length ? b : a, []);
    return richest.length >= own + 2 ? richest.findLast((one) => one !== elder) : undefined;
  }

  #preempt(sequence: Sequence) {
    this.#running.splice(this.#running.indexOf(sequence), 1);
    this.#release(sequence);
    sequence.state = "waiting";
    insertByArrival(this.#waiting, sequence);
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

  /** Moves a sequence from the queue to running, with blocks for all its tokens, when there is room for it. */
  #admit(sequence: Sequence): boolean {
    if (this.#running.length >= this.#maxRunning) return false;
    const found = this.#cache.find(sequence.cacheSpace, sequence, sequence.numReusable);
    // A copy needs a block more for as long as it takes, which may be the one that is missing.
    const hit = [found, { ...found, copy: undefined }].find((hit) => this.#hasRoom(sequence, hit));
    if (!hit) return false;
    this.#waiting.splice(this.#waiting.indexOf(sequence), 1);
    this.#start(sequence, hit);
    insertByArrival(this.#running, sequence);
    return true;
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

/** All but its last token are computed. */
function isDecode(sequence: Sequence): boolean {
  return sequence.state === "running" && sequence.numUncomputed === 1;
}

/** Samples wait for the first of their request, to find its prompt in the cache. */
function isReady({ leader }: Sequence): boolean {
  return !leader || leader.promptDone || leader.state === "finished";
}

/** Whether `a` is served before `b`. */
function isBefore(shares: FairShare, a: Sequence, b: Sequence): boolean {
  return (shares.compare(a.flow, b.flow) || a.arrival - b.arrival) < 0;
}

function insertByArrival(list: Sequence[], sequence: Sequence) {
  const index = list.findLastIndex(({ arrival }) => arrival < sequence.arrival);
  list.splice(index + 1, 0, sequence);
}
