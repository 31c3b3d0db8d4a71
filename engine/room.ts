// Whether there is room for a sequence that waits: a place, a state slot, and blocks for those of its tokens that are not
// cached; and who would have to give way for it. Pure, and changes nothing.
import { BLOCK_SIZE, type StepLimits } from "../kernels/step.ts";
import type { PrefixCache } from "./prefix_cache.ts";
import type { CacheHit } from "./prefix_search.ts";
import { blocksFor, type Sequence } from "./sequence.ts";
import { victimOf } from "./victims.ts";

export class Room {
  readonly #cache: PrefixCache;
  /** Few enough that each running sequence gets a row and a sample in every step, and has a state slot where it needs one. */
  readonly maxRunning: number;

  /** @throws {RangeError} for limits of less than 1 */
  constructor({ maxSequences, maxTokens, maxSamples, numStateSlots }: StepLimits, cache: PrefixCache) {
    this.#cache = cache;
    this.maxRunning = Math.min(maxSequences, maxTokens, maxSamples, numStateSlots || Infinity);
    if (this.maxRunning < 1) {
      throw new RangeError("Cannot make scheduler: every step limit must be at least 1");
    }
  }

  /**
   * The best of what is cached with which there is room for a sequence: one block spare for each that runs beside it, or
   * the newcomer would be preempted as soon as they grow. Undefined where there is no room.
   * @param victims of those who run, who gives way to it
   */
  hitFor(
    sequence: Sequence,
    running: readonly Sequence[],
    victims: readonly Sequence[] = [],
  ): CacheHit | undefined {
    const numStaying = running.length - victims.length;
    const hasSlot = victims.length > 0 || this.#cache.states?.numAvailable !== 0;
    if (numStaying >= this.maxRunning || !hasSlot) return undefined;
    const freed = blocksOnlyOf(victims, running);
    const blocks = this.#cache.numAvailable + freed.size - numStaying;
    return this.#hits(sequence).find((hit) => {
      const missing = blocksFor(sequence.numTokens) - hit.numBlocks;
      return missing + this.#cache.numTakenBy(hit, freed) <= blocks;
    });
  }

  /** The best first. A copy needs a block more for as long as it takes, which may be the one that is missing. */
  *#hits(sequence: Sequence): Generator<CacheHit> {
    let hit = this.#cache.find(sequence.cacheSpace, sequence, sequence.numReusable);
    while (true) {
      yield hit;
      if (!hit.copy) return;
      hit = this.#cache.find(sequence.cacheSpace, sequence, hit.numBlocks * BLOCK_SIZE);
    }
  }

  /**
   * Who has to give way for a sequence; undefined where all who may would not be enough, so that nobody loses a place
   * for nothing.
   * @param running in order of arrival
   * @param elder who may not
   */
  victimsFor(
    sequence: Sequence,
    running: readonly Sequence[],
    elder: Sequence | undefined,
  ): readonly Sequence[] | undefined {
    const victims: Sequence[] = [];
    while (true) {
      const victim = victimOf(running.filter((one) => !victims.includes(one)), sequence, elder);
      if (!victim) return undefined;
      victims.push(victim);
      if (this.hitFor(sequence, running, victims)) return victims;
    }
  }

  /** Whether all who wait would be admitted, though nobody loses a place and the cache has nothing of them. */
  hasRoomForAll(running: readonly Sequence[], waiting: readonly Sequence[]): boolean {
    const all = running.length + waiting.length;
    if (all > this.maxRunning || waiting.length > (this.#cache.states?.numAvailable ?? Infinity)) {
      return false;
    }
    // A block more for each, for a copy that it may need.
    const missing = waiting.reduce((sum, { numTokens }) => sum + blocksFor(numTokens) + 1, 0);
    return missing + all <= this.#cache.numAvailable;
  }
}

/** Blocks that these hold, and nobody else who runs. */
function blocksOnlyOf(sequences: readonly Sequence[], running: readonly Sequence[]): ReadonlySet<number> {
  const blocks = new Set(sequences.flatMap(heldBlocks));
  if (blocks.size === 0) return blocks;
  const others = running.filter((one) => !sequences.includes(one));
  for (const block of others.flatMap(heldBlocks)) blocks.delete(block);
  return blocks;
}

/** Its own, and the one that it is yet to copy from. */
export function heldBlocks({ blockTable, pendingCopy }: Sequence): readonly number[] {
  return pendingCopy ? [...blockTable, pendingCopy.from] : blockTable;
}
