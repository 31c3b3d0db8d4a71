// Decides what every step computes: decodes with chunks of new prompts under a budget of tokens, the more urgent class
// first, fair shares within a class, a place for the oldest of all. Who holds which blocks is for places.ts. Pure: no
// device, no clock (it counts its own steps), no text. The rules: docs/scheduling.md.
import { MAX_ADJUSTMENTS } from "../kernels/control.ts";
import { MAX_MASKS } from "../kernels/sampling/token_mask.ts";
import type { HostMoves, StepLimits } from "../kernels/step.ts";
import { FairShare, type Flow } from "./fair_share.ts";
import { isDecode, Places, type PlacesView } from "./places.ts";
import { PRIORITIES } from "./priority.ts";
import type { Sequence } from "./sequence.ts";
import type { Speculation } from "./speculation.ts";
import { stepAhead } from "./step_ahead.ts";
import { type ScheduledSequence, type StepBudget, take } from "./step_budget.ts";

export type { ScheduledSequence };

/** Steps after which the oldest sequence comes before all others, whatever its class. */
export const PATIENCE_STEPS = 64;
/** Parts of the step's budget, and of the chunk: see docs/scheduling.md for why these. */
const CHUNKS_PER_STEP = 4;
const ELDER_SHARE = 4;
const BACKGROUND_SHARE = 16;
/** Steps with live work, of which one has rows for other work too, and for the oldest sequence out of its order. */
export const BACKGROUND_EVERY = 8;

export interface SchedulerOptions {
  /** Most prompt tokens in a step beside decodes. Default: a quarter of the step's budget. */
  readonly chunkTokens?: number;
  /** Adds drafts to what is scheduled. Default: none are. */
  readonly speculation?: Speculation | undefined;
  /** Whether `scheduleAhead` will be asked: then blocks are kept free for it. Default: not. */
  readonly goesAhead?: boolean;
}

/** How long steps may be, in rows: for whoever knows what a row takes on this machine. */
export interface StepPace {
  /** Most rows of a step in which live prompts are read beside decodes; these and a quarter of a chunk always are. */
  readonly chunkRows: number;
  /** Most rows of live prompts where nothing decodes; never less than a quarter of a chunk. */
  readonly promptRows: number;
  /** Most rows of a step without live work; never less than such work has beside live work. */
  readonly backgroundRows: number;
}

const NO_HURRY: StepPace = { chunkRows: Infinity, promptRows: Infinity, backgroundRows: Infinity };

/** A step in the making. */
interface Plan {
  readonly step: ScheduledSequence[];
  readonly budget: StepBudget;
  readonly elder: Sequence | undefined;
  /** False once somebody more urgent waits for a place. */
  admits: boolean;
}

export class Scheduler {
  readonly #places: Places;
  readonly #limits: StepLimits;
  readonly #chunkTokens: number;
  readonly #speculation: Speculation | undefined;
  readonly #goesAhead: boolean;
  /** By rank. */
  readonly #shares = PRIORITIES.map(() => new FairShare());
  #steps = 0;

  /** @throws {RangeError} for limits or a chunk of less than 1 */
  constructor(limits: StepLimits, options: SchedulerOptions = {}) {
    this.#limits = limits;
    this.#places = new Places(limits);
    const { chunkTokens = Math.ceil(limits.maxTokens / CHUNKS_PER_STEP) } = options;
    if (!(chunkTokens >= 1)) {
      throw new RangeError(`Cannot make scheduler: chunkTokens must be at least 1, received ${chunkTokens}`);
    }
    this.#chunkTokens = chunkTokens;
    this.#speculation = options.speculation;
    this.#goesAhead = options.goesAhead ?? false;
  }

  /** Who runs, who waits, and what is cached. */
  get places(): PlacesView {
    return this.#places;
  }

  /**
   * Queues a sequence.
   * @throws {RangeError} when its prompt and its completion would not fit an empty pool: it could wait for ever
   */
  add(sequence: Sequence) {
    this.#places.add(sequence);
    sequence.queuedAt = this.#steps;
  }

  /** The next step, empty only when there is nothing to do. Its sequences must be passed to `complete` or `finish`. */
  schedule(pace: StepPace = NO_HURRY): ScheduledSequence[] {
    this.#steps++;
    const budget: StepBudget = {
      tokens: this.#limits.maxTokens,
      samples: this.#limits.maxSamples,
      adjustments: MAX_ADJUSTMENTS,
      masks: MAX_MASKS,
    };
    const step: ScheduledSequence[] = [];
    const elder = this.#placeElder();
    this.#places.reserveDecodes(elder);
    const plan: Plan = { step, budget, elder, admits: true };
    const turn = elder !== undefined && this.#isBackgroundTurn &&
      (elder.rank > 0 || this.#hasLiveBeside(elder));
    if (turn && isDecode(elder)) take(elder, budget, step);
    for (const one of this.#places.running) {
      if (one.rank === 0 && isDecode(one) && !(turn && one === elder)) take(one, budget, step);
    }
    if (turn && !isDecode(elder)) take(elder, budget, step, this.#elderRows(elder));
    const least = Math.ceil(this.#chunkTokens / ELDER_SHARE);
    const chunk = Math.min(this.#chunkTokens, Math.max(least, pace.chunkRows - step.length));
    this.#share(0, step.length > 0 ? chunk : Math.max(least, pace.promptRows), plan);
    this.#serveBackground(plan, turn, pace.backgroundRows);
    this.#addDrafts(plan, pace.backgroundRows);
    // A block for each: it lasts the steps that follow for as long as a block has rows.
    if (this.#goesAhead) this.#places.keepFree(step.filter(({ draws }) => draws).length);
    return step;
  }

  /**
   * The step after one that `schedule` or this gave, before that one is complete; undefined where it is not known yet, or
   * drafts may pay. Then it is the next one, and must be completed like others.
   */
  scheduleAhead(
    step: readonly ScheduledSequence[],
    pace: StepPace = NO_HURRY,
  ): ScheduledSequence[] | undefined {
    const running = step.filter(({ sequence }) => sequence.state === "running");
    const live = running.filter(({ sequence }) => sequence.rank === 0).length;
    // Others than live have rows beside live work now and then only; and while somebody types, whoever comes waits for
    // one short step of such work, and not for two.
    const isMixed = live > 0 && live < running.length, mayWait = live > 0 || pace.backgroundRows === Infinity;
    if (isMixed || !mayWait || this.#places.waiting.length > 0) return undefined;
    if (this.#speculation?.wouldDraft(running, this.#limits)) return undefined;
    const ahead = stepAhead(step, this.#places);
    if (ahead) this.#steps++;
    return ahead;
  }

  /**
   * Beside live work, whatever else there is has every eighth step only: each row would hold up whoever waits. So has
   * the oldest sequence, live or not, where it would not be served in its order: it is late already, and where more
   * arrives than can be computed there always is one, whose rows make others late.
   */
  get #isBackgroundTurn(): boolean {
    return this.#steps % BACKGROUND_EVERY === 0;
  }

  /** All but live work: a chunk and every decode, or fewer rows; beside live work, a few now and then. */
  #serveBackground(plan: Plan, elderServed: boolean, most: number) {
    const { step, budget, elder } = plan;
    const besideLive = step.some(({ sequence }) => sequence.rank === 0);
    const few = Math.ceil(this.#chunkTokens / BACKGROUND_SHARE);
    let rows = besideLive ? few : Math.min(this.#chunkTokens, Math.max(few, most));
    if (besideLive && !this.#isBackgroundTurn) return;
    if (elder && elder.rank > 0 && !elderServed) rows -= take(elder, budget, step, rows);
    if (!besideLive && most >= this.#chunkTokens) {
      const decodes = this.#places.running.filter((one) => one.rank > 0 && isDecode(one) && one !== elder);
      for (const sequence of decodes) take(sequence, budget, step);
    }
    for (let rank = 1; rank < PRIORITIES.length; rank++) rows -= this.#share(rank, rows, plan);
  }

  /** Last, from what all others have left; a step without live work grows no longer by them than it may be. */
  #addDrafts({ step, budget }: Plan, backgroundRows: number) {
    const live = step.some(({ sequence }) => sequence.rank === 0);
    const rows = step.reduce((sum, { numTokens }) => sum + numTokens, 0);
    this.#speculation?.addDrafts(
      step,
      budget,
      this.#places,
      live ? Infinity : Math.max(0, backgroundRows - rows),
    );
  }

  /** Gives out at most `most` rows within a class, a chunk at a time to whoever was given least. @returns how many */
  #share(rank: number, most: number, plan: Plan): number {
    const { step, budget, elder } = plan;
    const shares = this.#shares[rank];
    const taken = new Set(step.map(({ sequence }) => sequence));
    const candidates = [...this.#places.running, ...this.#places.waiting].filter((one) =>
      one.rank === rank && (rank === 0 || one !== elder) && !taken.has(one) &&
      (one.state === "running" || isReady(one)) && (rank > 0 || !isDecode(one))
    );
    // Who was served out of its order is still among those who want something: forgotten, it would start anew.
    const elders = elder?.rank === rank && taken.has(elder) && !isDecode(elder) ? [elder.flow] : [];
    shares.contend([...elders, ...candidates.map(({ flow }) => flow)]);
    const since = new Map<string, number>();
    for (const { flow: { key }, arrival } of candidates) {
      since.set(key, Math.min(since.get(key) ?? Infinity, arrival));
    }
    // Of keys that were given as much, whichever waits for longest. Within one, live work that needs least for its next
    // token: the mean wait is shortest so (Schrage, "A proof of the optimality of the SRPT discipline", 1968).
    const inOrder = (a: Sequence, b: Sequence) =>
      shares.compare(a.flow, b.flow) || since.get(a.flow.key)! - since.get(b.flow.key)! ||
      (rank === 0 ? a.numToGo - b.numToGo : 0) || a.arrival - b.arrival;
    candidates.sort(inOrder);
    const blocked = new Set<string>(), wanting: Flow[] = [];
    let rows = 0;
    while (candidates.length > 0 && rows < most && budget.tokens > 0) {
      const next = candidates.shift()!;
      const mayRun = plan.admits && !blocked.has(next.flow.key); // No overtaking within a key.
      if (next.state === "waiting" && !(mayRun && this.#makePlace(next, plan))) {
        blocked.add(next.flow.key);
        wanting.push(next.flow);
        continue;
      }
      const count = take(next, budget, step, most - rows);
      shares.charge(next.flow, count);
      candidates.sort(inOrder);
      rows += count;
      if (rank > 0 || next.numUncomputed > count) wanting.push(next.flow);
    }
    // Who has all it wanted is as good as new when it comes again.
    shares.contend([...elders, ...wanting, ...candidates.map(({ flow }) => flow)]);
    // What a class waits for, the classes below it must not take.
    if (blocked.size > 0) plan.admits = false;
    return rows;
  }

  /** What the step that `schedule` gave has to move between device and host before its rows. */
  get moves(): HostMoves {
    return this.#places.moves;
  }

  /** The step has failed; the caller finishes its sequences. */
  abandon() {
    this.#places.dropMoved();
  }

  /**
   * Records that the step's rows are computed, and appends what they yield. Sequences that finished meanwhile keep out of
   * it.
   * @param held new tokens of each, as `heldDraws` has them
   * @param ms milliseconds that the step took
   */
  complete(step: readonly ScheduledSequence[], held: readonly (readonly number[])[], ms: number) {
    this.#places.settleMoves();
    this.#speculation?.learn(step, held, ms);
    for (const [index, { sequence, start, numTokens, drafts, scoreEnd }] of step.entries()) {
      if (sequence.state !== "running") continue;
      for (const id of held[index]) sequence.append(id);
      // Rows after the first wrong draft followed from what never was; later ones take their place.
      sequence.numComputed = start + numTokens - drafts.length + Math.max(0, held[index].length - 1);
      sequence.numScored = Math.max(sequence.numScored, scoreEnd);
      if (sequence.numComputed >= sequence.promptLength) sequence.promptDone = true;
      this.#places.record(sequence);
    }
  }

  /** Takes a sequence out, wherever it is, and frees its blocks; a second call does nothing. */
  finish(sequence: Sequence) {
    this.#speculation?.finish(sequence);
    this.#places.finish(sequence);
  }

  /** The oldest of all, once it has waited for long: it runs, at whosever cost. */
  #placeElder(): Sequence | undefined {
    const [a, b] = [this.#places.running[0], this.#places.waiting[0]];
    const oldest = !a || b && b.arrival < a.arrival ? b : a;
    if (!oldest || this.#steps - oldest.queuedAt <= PATIENCE_STEPS) return undefined;
    while (oldest.state === "waiting" && !this.#places.admit(oldest)) {
      this.#places.preempt(this.#places.leastUrgent(oldest)!);
    }
    return oldest;
  }

  /** A whole chunk where nobody looks at the cursor meanwhile. */
  #elderRows(elder: Sequence): number {
    return this.#hasLiveBeside(elder) ? Math.ceil(this.#chunkTokens / ELDER_SHARE) : this.#chunkTokens;
  }

  #hasLiveBeside(elder: Sequence): boolean {
    return [...this.#places.running, ...this.#places.waiting].some((one) => one.rank === 0 && one !== elder);
  }

  /** Admits a sequence, if need be in the place of others. False: it has to wait. */
  #makePlace(sequence: Sequence, { step, elder }: Plan): boolean {
    while (!this.#places.admit(sequence)) {
      const victim = this.#places.victimOf(sequence, elder);
      if (!victim) return false;
      this.#places.preempt(victim);
      const index = step.findIndex((scheduled) => scheduled.sequence === victim);
      if (index >= 0) step.splice(index, 1);
    }
    return true;
  }
}

/** Samples wait for the first of their request, to find its prompt in the cache. */
function isReady({ leader }: Sequence): boolean {
  return !leader || leader.promptDone || leader.state === "finished";
}
