// Decides what every step computes: decodes with chunks of new prompts under a budget of tokens, the more urgent class
// first, fair shares within a class, a place for the oldest of all. Who holds which blocks is for places.ts. Pure: no
// device, no clock (it counts its own steps), no text. The rules: docs/scheduling.md.
import type { StepLimits } from "../kernels/step.ts";
import type { StepMoves } from "./batch.ts";
import { ClassShares } from "./class_shares.ts";
import { Places, type PlacesView } from "./places.ts";
import { PRIORITIES } from "./priority.ts";
import { Progress } from "./progress.ts";
import type { Sequence } from "./sequence.ts";
import type { Speculation } from "./speculation.ts";
import { lendBlocks, mayGoAhead } from "./step_ahead.ts";
import type { ScheduledSequence } from "./step_budget.ts";
import { NO_HURRY, type StepPace } from "./step_pace.ts";
import { StepPlan } from "./step_plan.ts";
import { leastUrgent } from "./victims.ts";

/** Steps after which the oldest sequence comes before all others, whatever its class. */
export const PATIENCE_STEPS = 64;
/** Parts of the step's budget, and of the chunk: see docs/scheduling.md for why these. */
const CHUNKS_PER_STEP = 4;
const ELDER_SHARE = 4;
const BACKGROUND_SHARE = 16;
/** Steps with live work, of which one has rows for other work too, and for the oldest sequence out of its order. */
export const BACKGROUND_EVERY = 8;

export interface SchedulerOptions {
  /** Rows of a step in which decodes and prompts meet, at most, but for some rows of prompts. Default: a quarter of its budget. */
  readonly chunkTokens?: number;
  /** Adds drafts to what is scheduled. Default: none are. */
  readonly speculation?: Speculation | undefined;
  /** Whether `scheduleAhead` will be asked: then blocks are kept free for it. Default: not. */
  readonly goesAhead?: boolean;
  /** Tokens after which a state of recurrent layers is kept. Default: 256. */
  readonly snapshotTokens?: number;
}

export class Scheduler {
  readonly #places: Places;
  readonly #limits: StepLimits;
  readonly #chunkTokens: number;
  readonly #speculation: Speculation | undefined;
  readonly #goesAhead: boolean;
  readonly #shares: ClassShares;
  #steps = 0;

  /** @throws {RangeError} for limits or a chunk of less than 1 */
  constructor(limits: StepLimits, options: SchedulerOptions = {}) {
    this.#limits = limits;
    this.#places = new Places(limits, options.snapshotTokens);
    this.#shares = new ClassShares(this.#places);
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
    const elder = this.#placeElder();
    this.#places.reserveDecodes(elder);
    const plan = new StepPlan(this.#limits, Progress.now, elder);
    const { step } = plan;
    const elderServed = this.#serveLive(plan, pace);
    this.#serveBackground(plan, elderServed, pace.backgroundRows);
    this.#addDrafts(plan, pace.backgroundRows);
    return this.#made(step);
  }

  /**
   * The step after one that `schedule` or this gave, before that one is complete: it gives out rows as `schedule` would,
   * but takes nobody's place, and has no drafts. Then it is the next one, and must be completed like others. Undefined
   * where it is not known yet, where drafts may pay, or where it would make others wait for longer than one step may.
   */
  scheduleAhead(
    current: readonly ScheduledSequence[],
    pace: StepPace = NO_HURRY,
  ): ScheduledSequence[] | undefined {
    const { running } = this.#places;
    const going = current.filter(({ sequence }) => sequence.state === "running");
    const progress = Progress.after(current);
    if (!progress || !mayGoAhead(this.#places, going, progress, pace, this.#leastRows)) return undefined;
    if (this.#speculation?.wouldDraft(going, this.#limits)) return undefined;
    const elder = this.#elder();
    if (elder?.state === "waiting" || !lendBlocks(this.#places, progress)) return undefined;
    // Whoever waits for a place, or for blocks, has them from a step that is not ahead.
    if (this.#places.waiting.length > 0 && !this.#places.hasRoomForAll) return undefined;
    this.#steps++;
    const plan = new StepPlan(this.#limits, progress, elder);
    const before = current.reduce((rows, { numTokens }) => rows + numTokens, 0);
    if (running.some(({ rank }) => rank > 0)) this.#serveDecodes(plan);
    else {
      const left = (rows: number) => Math.max(0, rows - before);
      this.#serveLive(plan, { ...pace, chunkRows: left(pace.chunkRows), promptRows: left(pace.promptRows) });
    }
    if (plan.step.length === 0) {
      this.#steps--;
      return undefined;
    }
    return this.#made(plan.step);
  }

  #made(step: ScheduledSequence[]): ScheduledSequence[] {
    this.#keepFree(step);
    return this.#places.begin(step);
  }

  /** A block for each that draws: it lasts the steps that follow for as long as a block has rows. */
  #keepFree(step: readonly ScheduledSequence[]) {
    if (this.#goesAhead) this.#places.keepFree(step.filter(({ draws }) => draws).length);
  }

  /** Rows that prompts may have in any case. */
  get #leastRows(): number {
    return Math.ceil(this.#chunkTokens / ELDER_SHARE);
  }

  /** Decodes, and prompts beside them; the oldest sequence out of its order where it is its turn. @returns whether it was */
  #serveLive(plan: StepPlan, pace: StepPace): boolean {
    const { step, elder, progress } = plan;
    const turn = elder !== undefined && this.#isBackgroundTurn &&
      (elder.rank > 0 || this.#hasLiveBeside(elder));
    if (turn && progress.isDecode(elder)) plan.take(elder);
    for (const one of this.#places.running) {
      if (one.rank === 0 && progress.isDecode(one) && !(turn && one === elder)) plan.take(one);
    }
    if (turn && !progress.isDecode(elder)) plan.take(elder, this.#elderRows(elder));
    const chunk = Math.max(
      this.#leastRows,
      Math.min(this.#chunkTokens, pace.chunkRows) - numDecodeRows(step),
    );
    this.#shares.giveOut(0, step.length > 0 ? chunk : Math.max(this.#leastRows, pace.promptRows), plan);
    return turn;
  }

  /** Of all classes. */
  #serveDecodes(plan: StepPlan) {
    for (const one of this.#places.running) if (plan.progress.isDecode(one)) plan.take(one);
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
  #serveBackground(plan: StepPlan, elderServed: boolean, most: number) {
    const { elder, progress } = plan;
    const besideLive = plan.hasLive;
    const few = Math.ceil(this.#chunkTokens / BACKGROUND_SHARE);
    let rows = besideLive ? few : Math.min(this.#chunkTokens, Math.max(few, most));
    if (besideLive && !this.#isBackgroundTurn) return;
    if (elder && elder.rank > 0 && !elderServed) rows -= plan.take(elder, rows);
    if (!besideLive && most >= this.#chunkTokens) {
      const decodes = this.#places.running.filter((one) =>
        one.rank > 0 && progress.isDecode(one) && one !== elder
      );
      for (const sequence of decodes) plan.take(sequence);
      rows = Math.max(this.#leastRows, rows - decodes.length);
    }
    for (let rank = 1; rank < PRIORITIES.length; rank++) rows -= this.#shares.giveOut(rank, rows, plan);
  }

  /** Last, from what all others have left; a step without live work grows no longer by them than it may be. */
  #addDrafts(plan: StepPlan, backgroundRows: number) {
    const most = plan.hasLive ? Infinity : Math.max(0, backgroundRows - plan.numRows);
    this.#speculation?.addDrafts(plan.step, plan.budget, this.#places, Math.min(most, this.#mostRedone));
  }

  /**
   * Most drafts of a step where wrong ones are computed again: so that all that decode have room for their rows in the
   * next one, and prompts have theirs.
   */
  get #mostRedone(): number {
    if (this.#places.numStateSlots === 0) return Infinity;
    return Math.min(this.#chunkTokens, Math.max(0, this.#limits.maxTokens - this.#places.maxRunning));
  }

  /** The step given last begins: what it has to move between device and host before its rows. */
  beginMoves(): StepMoves {
    return this.#places.beginMoves();
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
      const numRight = Math.max(0, held[index].length - 1);
      // Rows after the first wrong draft followed from what never was; later ones take their place.
      const isUndone = this.#places.undoDrafts(sequence, start, numRight === drafts.length);
      sequence.numComputed = isUndone ? start : start + numTokens - drafts.length + numRight;
      if (isUndone) sequence.numToRedo = held[index].length;
      else if (sequence.numToRedo > 0) {
        sequence.numToRedo = Math.min(sequence.numToRedo, sequence.numUncomputed - 1);
      }
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

  /** The oldest of all, once it has waited for long. */
  #elder(): Sequence | undefined {
    const [a, b] = [this.#places.running[0], this.#places.waiting[0]];
    const oldest = !a || b && b.arrival < a.arrival ? b : a;
    return !oldest || this.#steps - oldest.queuedAt <= PATIENCE_STEPS ? undefined : oldest;
  }

  /** It runs, at whosever cost. */
  #placeElder(): Sequence | undefined {
    const elder = this.#elder();
    while (elder?.state === "waiting" && !this.#places.admit(elder)) {
      this.#places.preempt(leastUrgent(this.#places.running, elder)!);
    }
    return elder;
  }

  /** A whole chunk where nobody looks at the cursor meanwhile. */
  #elderRows(elder: Sequence): number {
    return this.#hasLiveBeside(elder) ? this.#leastRows : this.#chunkTokens;
  }

  #hasLiveBeside(elder: Sequence): boolean {
    return [...this.#places.running, ...this.#places.waiting].some((one) => one.rank === 0 && one !== elder);
  }
}

/** Of those in the step a row each, and what a wrong draft has to be computed again. */
function numDecodeRows(step: readonly ScheduledSequence[]): number {
  return step.reduce((sum, { sequence }) => sum + 1 + sequence.numToRedo, 0);
}
