// Decides what every step computes: decodes with chunks of new prompts under a budget of tokens, the more urgent class
// first, fair shares within a class, a place for the oldest of all. Who holds which blocks is for places.ts. Pure: no
// device, no clock (it counts its own steps), no text. The rules: docs/scheduling.md.
import { MAX_ADJUSTMENTS } from "../kernels/control.ts";
import { MAX_MASKS } from "../kernels/sampling/token_mask.ts";
import type { StepLimits } from "../kernels/step.ts";
import type { StepMoves } from "./batch.ts";
import { FairShare, type Flow } from "./fair_share.ts";
import { Places, type PlacesView } from "./places.ts";
import { PRIORITIES } from "./priority.ts";
import { Progress } from "./progress.ts";
import { blocksFor, type Sequence } from "./sequence.ts";
import type { Speculation } from "./speculation.ts";
import { leastUrgent } from "./victims.ts";
import { giveBack, type ScheduledSequence, type StepBudget, take } from "./step_budget.ts";

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
  /** Rows of a step in which decodes and prompts meet, at most, but for some rows of prompts. Default: a quarter of its budget. */
  readonly chunkTokens?: number;
  /** Adds drafts to what is scheduled. Default: none are. */
  readonly speculation?: Speculation | undefined;
  /** Whether `scheduleAhead` will be asked: then blocks are kept free for it. Default: not. */
  readonly goesAhead?: boolean;
  /** Tokens after which a state of recurrent layers is kept. Default: 256. */
  readonly snapshotTokens?: number;
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
  /** How far everybody has got when it begins. */
  readonly progress: Progress;
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
    this.#places = new Places(limits, options.snapshotTokens);
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
    const plan = this.#newPlan(elder, Progress.now);
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
    if (!progress || !this.#mayGoAhead(going, progress, pace)) return undefined;
    if (this.#speculation?.wouldDraft(going, this.#limits)) return undefined;
    const elder = this.#elder();
    if (elder?.state === "waiting" || !this.#lendBlocks(progress)) return undefined;
    // Whoever waits for a place, or for blocks, has them from a step that is not ahead.
    if (this.#places.waiting.length > 0 && !this.#places.hasRoomForAll) return undefined;
    this.#steps++;
    const plan = this.#newPlan(elder, progress);
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

  /** Whether a step may begin before `current` is complete, for the sake of those who wait and of those who come. */
  #mayGoAhead(current: readonly ScheduledSequence[], progress: Progress, pace: StepPace): boolean {
    const { running, waiting } = this.#places;
    const live = running.filter(({ rank }) => rank === 0).length;
    // Others than live have rows beside live work now and then only; and while somebody types, whoever comes waits for
    // one short step of such work, and not for two.
    if (live > 0 && live < running.length || live === 0 && pace.backgroundRows < Infinity) return false;
    const decodes = running.every((one) => progress.numUncomputed(one) === 0 || progress.isDecode(one));
    if (live === 0) return decodes && waiting.length === 0;
    if (waiting.some(({ rank }) => rank > 0)) return false; // Their turn is another step's.
    if (decodes && waiting.length === 0) return true;
    // Two steps in which prompts are read take together no longer than one may.
    const rows = current.reduce((sum, { numTokens }) => sum + numTokens, 0);
    return pace.chunkRows - rows >= running.length + waiting.length + this.#leastRows;
  }

  /** A block for every token that is being drawn, and none of those that hold something. */
  #lendBlocks(progress: Progress): boolean {
    return this.#places.running.every((sequence) => {
      const reached = progress.reached(sequence);
      if (!reached) return true;
      if (reached.drawnBy !== undefined) return this.#places.lendBlocks(sequence, 1) >= 1;
      return blocksFor(sequence.numTokens) <= sequence.blockTable.length;
    });
  }

  /** A block for each that draws: it lasts the steps that follow for as long as a block has rows. */
  #keepFree(step: readonly ScheduledSequence[]) {
    if (this.#goesAhead) this.#places.keepFree(step.filter(({ draws }) => draws).length);
  }

  #newPlan(elder: Sequence | undefined, progress: Progress): Plan {
    const budget = {
      tokens: this.#limits.maxTokens,
      samples: this.#limits.maxSamples,
      adjustments: MAX_ADJUSTMENTS,
      masks: MAX_MASKS,
    };
    return { progress, step: [], budget, elder, admits: true };
  }

  #take(sequence: Sequence, { progress, budget, step }: Plan, most?: number): number {
    return take(sequence, budget, step, progress.reached(sequence), most);
  }

  /** Rows that prompts may have in any case. */
  get #leastRows(): number {
    return Math.ceil(this.#chunkTokens / ELDER_SHARE);
  }

  /** Decodes, and prompts beside them; the oldest sequence out of its order where it is its turn. @returns whether it was */
  #serveLive(plan: Plan, pace: StepPace): boolean {
    const { step, elder, progress } = plan;
    const turn = elder !== undefined && this.#isBackgroundTurn &&
      (elder.rank > 0 || this.#hasLiveBeside(elder));
    if (turn && progress.isDecode(elder)) this.#take(elder, plan);
    for (const one of this.#places.running) {
      if (one.rank === 0 && progress.isDecode(one) && !(turn && one === elder)) this.#take(one, plan);
    }
    if (turn && !progress.isDecode(elder)) this.#take(elder, plan, this.#elderRows(elder));
    const chunk = Math.max(
      this.#leastRows,
      Math.min(this.#chunkTokens, pace.chunkRows) - numDecodeRows(step),
    );
    this.#share(0, step.length > 0 ? chunk : Math.max(this.#leastRows, pace.promptRows), plan);
    return turn;
  }

  /** Of all classes. */
  #serveDecodes(plan: Plan) {
    for (const one of this.#places.running) if (plan.progress.isDecode(one)) this.#take(one, plan);
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
    const { step, elder, progress } = plan;
    const besideLive = step.some(({ sequence }) => sequence.rank === 0);
    const few = Math.ceil(this.#chunkTokens / BACKGROUND_SHARE);
    let rows = besideLive ? few : Math.min(this.#chunkTokens, Math.max(few, most));
    if (besideLive && !this.#isBackgroundTurn) return;
    if (elder && elder.rank > 0 && !elderServed) rows -= this.#take(elder, plan, rows);
    if (!besideLive && most >= this.#chunkTokens) {
      const decodes = this.#places.running.filter((one) =>
        one.rank > 0 && progress.isDecode(one) && one !== elder
      );
      for (const sequence of decodes) this.#take(sequence, plan);
      rows = Math.max(this.#leastRows, rows - decodes.length);
    }
    for (let rank = 1; rank < PRIORITIES.length; rank++) rows -= this.#share(rank, rows, plan);
  }

  /** Last, from what all others have left; a step without live work grows no longer by them than it may be. */
  #addDrafts({ step, budget }: Plan, backgroundRows: number) {
    const live = step.some(({ sequence }) => sequence.rank === 0);
    const rows = step.reduce((sum, { numTokens }) => sum + numTokens, 0);
    const most = live ? Infinity : Math.max(0, backgroundRows - rows);
    this.#speculation?.addDrafts(step, budget, this.#places, Math.min(most, this.#mostRedone));
  }

  /**
   * Most drafts of a step where wrong ones are computed again: so that all that decode have room for their rows in the
   * next one, and prompts have theirs.
   */
  get #mostRedone(): number {
    if (this.#places.numStateSlots === 0) return Infinity;
    return Math.min(this.#chunkTokens, Math.max(0, this.#limits.maxTokens - this.#places.maxRunning));
  }

  /** Gives out at most `most` rows within a class, a chunk at a time to whoever was given least. @returns how many */
  #share(rank: number, most: number, plan: Plan): number {
    const { step, budget, elder, progress } = plan;
    const shares = this.#shares[rank];
    const taken = new Set(step.map(({ sequence }) => sequence));
    const candidates = [...this.#places.running, ...this.#places.waiting].filter((one) =>
      one.rank === rank && (rank === 0 || one !== elder) && !taken.has(one) &&
      (one.state === "running" ? progress.reached(one) : this.#isReady(one)) &&
      (rank > 0 || !progress.isDecode(one))
    );
    // Who was served out of its order is still among those who want something: forgotten, it would start anew.
    const elders = elder?.rank === rank && taken.has(elder) && !progress.isDecode(elder) ? [elder.flow] : [];
    shares.contend([...elders, ...candidates.map(({ flow }) => flow)]);
    const since = new Map<string, number>();
    for (const { flow: { key }, arrival } of candidates) {
      since.set(key, Math.min(since.get(key) ?? Infinity, arrival));
    }
    // Of keys that were given as much, whichever waits for longest. Within one, live work that needs least for its next
    // token: the mean wait is shortest so (Schrage, "A proof of the optimality of the SRPT discipline", 1968).
    const toGo = (one: Sequence) => one.state === "waiting" ? one.numExpected : progress.numUncomputed(one);
    const inOrder = (a: Sequence, b: Sequence) =>
      shares.compare(a.flow, b.flow) || since.get(a.flow.key)! - since.get(b.flow.key)! ||
      (rank === 0 ? toGo(a) - toGo(b) : 0) || a.arrival - b.arrival;
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
      const count = this.#take(next, plan, most - rows);
      shares.charge(next.flow, count);
      candidates.sort(inOrder);
      rows += count;
      if (rank > 0 || progress.numUncomputed(next) > count) wanting.push(next.flow);
    }
    // Who has all it wanted is as good as new when it comes again.
    shares.contend([...elders, ...wanting, ...candidates.map(({ flow }) => flow)]);
    // What a class waits for, the classes below it must not take.
    if (blocked.size > 0) plan.admits = false;
    return rows;
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

  /** Admits a sequence, if need be in the place of others, but not of those with rows under way. False: it has to wait. */
  #makePlace(sequence: Sequence, { step, budget, elder, progress }: Plan): boolean {
    if (this.#places.admit(sequence)) return true;
    if (progress !== Progress.now) return false;
    const victims = this.#places.victimsFor(sequence, elder);
    if (!victims) return false;
    for (const victim of victims) {
      this.#places.preempt(victim);
      giveBack(victim, budget, step);
    }
    return this.#places.admit(sequence);
  }

  /** Samples wait for the first of their request, to find its prompt in the cache. */
  #isReady({ leader }: Sequence): boolean {
    return !leader || leader.promptDone || leader.state === "finished";
  }
}

/** Of those in the step a row each, and what a wrong draft has to be computed again. */
function numDecodeRows(step: readonly ScheduledSequence[]): number {
  return step.reduce((sum, { sequence }) => sum + 1 + sequence.numToRedo, 0);
}
