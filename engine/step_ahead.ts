// The step after one that is under way, where it is known before that one's tokens are: every sequence that runs decodes
// (and nobody waits, as the scheduler has seen to). A runner that takes two steps at once can begin it, and the device has no pause between them. Pure.
import type { Places } from "./places.ts";
import type { Sequence } from "./sequence.ts";
import type { ScheduledSequence } from "./step_budget.ts";

/**
 * What `current` leads to, whatever it draws: a row more for each of its sequences that goes on after the next token, who
 * may turn out to have ended. Undefined where it depends on what is drawn, or where there is more to do than to decode.
 * Its blocks are lent as those of drafts are, and it needs no place in a schedule: nobody else wants anything of it.
 */
export function stepAhead(
  current: readonly ScheduledSequence[],
  places: Pick<Places, "running" | "lendBlocks">,
): ScheduledSequence[] | undefined {
  const decoding = new Set(current.filter(isPlainDecode).map(({ sequence }) => sequence));
  if (!places.running.every((sequence) => decoding.has(sequence))) return undefined;
  const ahead: ScheduledSequence[] = [];
  let samples = 0;
  for (const scheduled of current) {
    const { sequence, start } = scheduled, drawnBy = samples;
    samples += numSamples(scheduled); // Of those that have ended since, too, be it with drafts or in their prompt.
    if (sequence.state !== "running" || !goesOn(sequence)) continue;
    if (places.lendBlocks(sequence, 1) < 1) return undefined;
    ahead.push({
      ...{ sequence, start: start + 1, numTokens: 1, drawnBy, draws: true, drafts: [] },
      ...{ scoreStart: start + 1, scoreEnd: start + 1, adjustments: [] },
    });
  }
  return ahead.length > 0 ? ahead : undefined;
}

/** One row, and a draw for which nothing has to be known of the token before it. */
function isPlainDecode({ sequence, numTokens, draws, scoreStart, scoreEnd }: ScheduledSequence): boolean {
  if (numTokens !== 1 || !draws || scoreStart < scoreEnd || sequence.constrained) return false;
  return sequence.adjustments([0]).length === 0; // Nor would there be any with the next token, whichever it is.
}

function numSamples({ scoreStart, scoreEnd, draws, drafts }: ScheduledSequence): number {
  return scoreEnd - scoreStart + (draws ? 1 + drafts.length : 0);
}

/** The token that is being drawn is not its last, as far as its length goes. */
function goesOn({ numGenerated, maxTokens }: Sequence): boolean {
  return numGenerated + 1 < maxTokens;
}
