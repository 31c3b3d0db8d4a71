// How far sequences have got: as they are, or as they will be once a step that is under way is done, whatever it draws. A
// runner that takes two steps at once can then be given the next one, and the device has no pause between them. Pure.
import type { Sequence } from "./sequence.ts";

/** Where the next row of a sequence is. */
export interface Reached {
  /** Index in the sequence of the first token to compute. */
  readonly start: number;
  /** That token is not known yet: it is what this sample of the step under way draws. */
  readonly drawnBy?: number;
  /** Its pending copy is done by the step under way. */
  readonly copied?: boolean;
}

/** Rows of a step under way, as `ScheduledSequence` has them. */
interface Rows {
  readonly sequence: Sequence;
  readonly start: number;
  readonly numTokens: number;
  readonly draws: boolean;
  readonly drafts: readonly unknown[];
  readonly scoreStart: number;
  readonly scoreEnd: number;
}

export class Progress {
  /** Undefined for those that end with the step. */
  readonly #after: ReadonlyMap<Sequence, Reached | undefined>;

  private constructor(after: ReadonlyMap<Sequence, Reached | undefined>) {
    this.#after = after;
  }

  /** As they are. */
  static readonly now = new Progress(new Map());

  /** Once `step` is done; undefined where what follows depends on what it draws. */
  static after(step: readonly Rows[]): Progress | undefined {
    const after = new Map<Sequence, Reached | undefined>();
    let samples = 0;
    for (const rows of step) {
      const { sequence, start, numTokens, draws } = rows;
      const drawnBy = samples;
      samples += numSamples(rows); // Of those that have ended since, too, be it with drafts or in their prompt.
      if (sequence.state !== "running") continue;
      if (!isKnown(rows)) return undefined;
      const end = { start: start + numTokens, copied: true };
      if (!draws) after.set(sequence, end);
      else after.set(sequence, goesOn(sequence) ? { ...end, drawnBy } : undefined);
    }
    return new Progress(after);
  }

  /** Undefined when no row of it can follow. */
  reached(sequence: Sequence): Reached | undefined {
    return this.#after.has(sequence) ? this.#after.get(sequence) : { start: sequence.numComputed };
  }

  /** Tokens still to be computed before the next draw. */
  numUncomputed(sequence: Sequence): number {
    const reached = this.reached(sequence);
    if (!reached) return 0;
    return reached.drawnBy === undefined ? sequence.numTokens - reached.start : 1;
  }

  /** All but its last token are computed, or were before a wrong draft: its rows draw the next one. */
  isDecode(sequence: Sequence): boolean {
    const left = this.numUncomputed(sequence);
    return sequence.state === "running" && (left === 1 || left === 1 + sequence.numToRedo);
  }
}

/** Nothing of its next rows depends on the token that is being drawn, nor on scores. */
function isKnown({ sequence, draws, drafts, scoreStart, scoreEnd }: Rows): boolean {
  if (scoreStart < scoreEnd || drafts.length > 0) return false;
  if (!draws) return true;
  // Nor would there be any adjustment with the next token, whichever it is.
  return !sequence.constrained && sequence.adjustments([0]).length === 0;
}

function numSamples({ scoreStart, scoreEnd, draws, drafts }: Rows): number {
  return scoreEnd - scoreStart + (draws ? 1 + drafts.length : 0);
}

/** The token that is being drawn is not its last, as far as its length goes. */
function goesOn({ numGenerated, maxTokens }: Sequence): boolean {
  return numGenerated + 1 < maxTokens;
}
