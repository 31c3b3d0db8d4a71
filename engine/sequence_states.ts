// What becomes of the recurrent states of those who run: where a sequence begins, what is kept of its states on the way, how
// it comes back from a draft that was wrong, and what it leaves. Pure: it says what to copy.
import type { CachedStates } from "./cached_states.ts";
import { type HeldState, isKept, nextKept, SNAPSHOT_TOKENS, wantedAfter } from "./held_state.ts";
import type { PrefixCache } from "./prefix_cache.ts";
import { type CacheHit, numTokensOf } from "./prefix_search.ts";
import type { Sequence } from "./sequence.ts";
import type { KeptWithin, ScheduledSequence } from "./step_budget.ts";

export class SequenceStates {
  readonly #cache: PrefixCache;
  readonly #states: CachedStates;
  readonly #every: number;
  readonly #mostWithin: number;

  /**
   * @param mostWithin states that a step can keep within rows; 0: none, so that rows are cut where a state is kept
   * @param every tokens after which a state is kept
   */
  constructor(cache: PrefixCache, states: CachedStates, mostWithin: number, every = SNAPSHOT_TOKENS) {
    this.#cache = cache;
    this.#states = states;
    this.#mostWithin = mostWithin;
    this.#every = every;
  }

  /** Gives a sequence a slot, with what was kept after the tokens that were found. A slot must be available. */
  start(sequence: Sequence, hit: CacheHit) {
    const found = numTokensOf(hit), source = hit.state?.slot;
    const slot = this.#states.allocate()!;
    if (source !== undefined) this.#states.copy(source, slot);
    sequence.heldState = {
      ...{ slot, found, reached: found, every: this.#every, isCut: this.#mostWithin === 0 },
      keptAfter: wantedAfter(sequence, found, hit.numMatched, this.#every),
      ...{ beforeDrafts: undefined, unrecorded: [] },
    };
  }

  /**
   * A step begins: keeps states that its rows would change, and notes how far they get.
   * @returns the step with the states that it is to keep within its rows
   */
  begin(step: readonly ScheduledSequence[]): ScheduledSequence[] {
    let left = this.#mostWithin;
    return step.map((scheduled) => {
      const { sequence, start, numTokens } = scheduled, held = sequence.heldState!;
      if (isKept(held, start)) this.#keep(sequence, held, start);
      held.reached = start + numTokens;
      const keptStates = this.#keepWithin(held, start, left);
      left -= keptStates.length;
      return keptStates.length > 0 ? { ...scheduled, keptStates } : scheduled;
    });
  }

  /** Where there is not room for all, the last: whoever goes on with a text goes on at its end. */
  #keepWithin(held: HeldState, start: number, most: number): KeptWithin[] {
    const wanted: number[] = [];
    for (let at = nextKept(held, start); at < held.reached; at = nextKept(held, at)) wanted.push(at);
    const kept: KeptWithin[] = [];
    for (const numTokens of wanted.slice(Math.max(0, wanted.length - most)).reverse()) {
      const slot = this.#states.allocate();
      if (slot === undefined) break;
      kept.unshift({ numRows: numTokens - start, slot });
    }
    const unrecorded = kept.map(({ numRows, slot }) => ({ numTokens: start + numRows, slot }));
    held.unrecorded = [...held.unrecorded, ...unrecorded];
    return kept;
  }

  #keep(sequence: Sequence, held: HeldState, numTokens: number) {
    const slot = this.#states.allocate();
    if (slot === undefined) return;
    this.#states.copy(held.slot, slot);
    held.unrecorded = [...held.unrecorded, { slot, numTokens }];
    this.record(sequence);
  }

  /** The cache knows the sequence's computed tokens: hands it what was kept after them. */
  record(sequence: Sequence) {
    const held = sequence.heldState!;
    for (const { numTokens, slot } of held.unrecorded) {
      if (numTokens <= sequence.numComputed) this.#cache.keepState(sequence.lastCached, numTokens, slot);
    }
    held.unrecorded = held.unrecorded.filter(({ numTokens }) => numTokens > sequence.numComputed);
  }

  /**
   * Keeps the state before a step's rows, the last of which will be drafts.
   * @returns most drafts: none where there is no slot, and none beyond the next token after which a state is to be kept
   */
  prepareDrafts({ sequence, start, numTokens }: ScheduledSequence): number {
    const held = sequence.heldState!;
    // A wrong draft costs its sequence's rows once more: more than one are too many.
    const most = numTokens === 1 ? nextKept(held, start) - start - 1 : 0;
    if (most <= 0) return 0;
    held.beforeDrafts = this.#states.allocate();
    if (held.beforeDrafts === undefined) return 0;
    this.#states.copy(held.slot, held.beforeDrafts);
    return most;
  }

  /** The step with drafts is done. Where one was wrong the sequence has the state before all of its rows again. */
  settleDrafts(sequence: Sequence, start: number, areRight: boolean) {
    const held = sequence.heldState!, before = held.beforeDrafts;
    if (before === undefined) return;
    held.beforeDrafts = undefined;
    if (areRight) return this.#states.free(before);
    this.#states.free(held.slot);
    [held.slot, held.reached] = [before, start];
  }

  /**
   * Takes a sequence's slots away. The state that it has got to is kept, or will get to with the steps under way: whoever
   * goes on from there does so in a later one.
   * @param isTrusted false: nobody knows what its slot holds
   */
  release(sequence: Sequence, isTrusted: boolean) {
    const { heldState } = sequence;
    if (!heldState) return;
    const { slot, beforeDrafts, reached } = heldState;
    const isKnown = isTrusted && beforeDrafts === undefined && reached <= sequence.numTokens;
    if (isKnown && reached > sequence.numComputed) this.#recordUnderWay(sequence, reached);
    const { unrecorded } = heldState;
    if (beforeDrafts !== undefined) this.#states.free(beforeDrafts);
    for (const { slot } of unrecorded) this.#states.free(slot);
    if (isKnown && reached > 0) this.#cache.keepState(sequence.lastCached, reached, slot);
    else this.#states.free(slot);
    sequence.heldState = undefined;
  }

  #recordUnderWay(sequence: Sequence, end: number) {
    const { cacheSpace, lastCached, blockTable } = sequence;
    sequence.lastCached = this.#cache.record(cacheSpace, lastCached, sequence, end, blockTable);
    sequence.numComputed = end;
    this.record(sequence);
  }

  /** Of all who run. */
  slotsOf(sequences: readonly Sequence[]): number[] {
    return sequences.flatMap(({ heldState: held }) =>
      held ? [held.slot, held.beforeDrafts ?? [], held.unrecorded.map(({ slot }) => slot)].flat() : []
    );
  }
}
