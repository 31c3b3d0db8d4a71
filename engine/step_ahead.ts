// Whether a step may begin before the one under way is complete: for the sake of those who wait and of those who come it
// must not always. Pure. The rules: docs/scheduling.md, A step.
import type { Places } from "./places.ts";
import type { Progress } from "./progress.ts";
import { blocksFor } from "./sequence.ts";
import type { ScheduledSequence } from "./step_budget.ts";
import type { StepPace } from "./step_pace.ts";

/**
 * @param current those rows of the step under way whose sequences still run
 * @param leastRows as `Scheduler` gives prompts in any case
 */
export function mayGoAhead(
  { running, waiting }: Places,
  current: readonly ScheduledSequence[],
  progress: Progress,
  pace: StepPace,
  leastRows: number,
): boolean {
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
  return pace.chunkRows - rows >= running.length + waiting.length + leastRows;
}

/** Lends a block to every token that is being drawn, and none of those that hold something. @returns whether there were enough */
export function lendBlocks(places: Places, progress: Progress): boolean {
  return places.running.every((sequence) => {
    const reached = progress.reached(sequence);
    if (!reached) return true;
    if (reached.drawnBy !== undefined) return places.lendBlocks(sequence, 1) >= 1;
    return blocksFor(sequence.numTokens) <= sequence.blockTable.length;
  });
}
