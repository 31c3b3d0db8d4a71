// What a running sequence holds of the state slots where the model has recurrent layers, and after which of its tokens states
// are kept. Where a step leaves the state after the last of a sequence's rows and no other, its rows are cut there. Pure.
import { BLOCK_SIZE } from "../kernels/step.ts";
import type { Sequence } from "./sequence.ts";

/** Tokens after which a state is kept: whoever has as many in common with others computes fewer than that again. */
export const SNAPSHOT_TOKENS = 256;
/** A state that spares fewer rows than this is not worth a step that ends there. */
const LEAST_SPARED = 2 * BLOCK_SIZE;

export interface HeldState {
  slot: number;
  /** The slot with the state before the drafts of the step under way. */
  beforeDrafts: number | undefined;
  /** States that are kept after tokens which the cache knows when the steps under way are done, in order. */
  unrecorded: readonly UnrecordedState[];
  /** Tokens after which the slot's state is, once all steps that have begun are done. */
  reached: number;
  /** Tokens from which it went on when it got its slot. */
  readonly found: number;
  /** States are kept at every multiple of it, */
  readonly every: number;
  /** and here; undefined: nowhere at all, for nobody else may go on from its states. */
  readonly keptAfter: readonly number[] | undefined;
  /** Whether rows have to end where a state is kept. */
  readonly isCut: boolean;
}

interface UnrecordedState {
  readonly slot: number;
  readonly numTokens: number;
}

/**
 * Where the state will be wanted again: where the tokens depart from what is cached (others did so before, or others may
 * follow; Pan et al. 2024, "Marconi: Prefix Caching for the Era of Hybrid LLMs", section 4.1), and before the prompt's last
 * token, where its other samples begin, and whoever asks again when some more is typed.
 * @param found tokens from which it goes on
 * @param matched tokens that are cached, though nobody can go on after them
 */
export function wantedAfter(
  sequence: Sequence,
  found: number,
  matched: number,
  every: number,
): number[] | undefined {
  const { promptLength, leads, cacheSpace } = sequence;
  if (!leads && typeof cacheSpace === "symbol") return undefined;
  const wanted: number[] = [];
  const departure = Math.floor(matched / BLOCK_SIZE) * BLOCK_SIZE;
  if (departure - found >= LEAST_SPARED && departure < promptLength) wanted.push(departure);
  const end = promptLength - 1, multiple = Math.floor(end / every) * every;
  if (end - Math.max(found, multiple, ...wanted) >= (leads ? 1 : LEAST_SPARED)) wanted.push(end);
  return wanted;
}

/** Whether a state is kept after so many tokens, where a step's rows begin there. */
export function isKept({ keptAfter, found, every }: HeldState, numTokens: number): boolean {
  if (!keptAfter || numTokens <= found) return false;
  return numTokens % every === 0 || keptAfter.includes(numTokens);
}

/** The first number of tokens beyond `start` after which a state is kept. */
export function nextKept({ keptAfter, every }: HeldState, start: number): number {
  if (!keptAfter) return Infinity;
  const multiple = (Math.floor(start / every) + 1) * every;
  return Math.min(multiple, ...keptAfter.filter((numTokens) => numTokens > start));
}

/** Where rows from `start` on must end at the latest. */
export function nextCut(held: HeldState, start: number): number {
  return held.isCut ? nextKept(held, start) : Infinity;
}
