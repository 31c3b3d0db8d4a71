// Packs what the scheduler chose into the typed arrays of a `StepBatch`. Pure.
import {
  BLOCK_SIZE,
  drawnBefore,
  type HostMoves,
  type SampleRequest,
  type StateCopy,
  type StepBatch,
} from "../kernels/step.ts";
import { blocksFor } from "./sequence.ts";
import type { ScheduledSequence } from "./step_budget.ts";

/** What a step does before its rows, for them and for what is cached. */
export interface StepMoves extends HostMoves {
  readonly stateCopies: readonly StateCopy[];
}

/** A step as the runner takes it. Each sequence's samples stand together: its scores first, then its draws. */
export function packBatch(
  step: readonly ScheduledSequence[],
  { parks, unparks, stateCopies }: StepMoves = { parks: [], unparks: [], stateCopies: [] },
): StepBatch {
  const numTokens = step.reduce((sum, scheduled) => sum + scheduled.numTokens, 0);
  const copies = step.flatMap(({ copy }) => copy ? [{ from: copy.from, to: copy.to, rows: copy.rows }] : []);
  const batch = {
    tokenIds: new Uint32Array(numTokens),
    positions: new Uint32Array(numTokens),
    slotMapping: new Uint32Array(numTokens),
    queryStart: new Uint32Array(step.length + 1),
    contextLengths: new Uint32Array(step.length),
    blockTables: [] as Uint32Array[],
    samples: [] as SampleRequest[],
  };
  let row = 0;
  step.forEach((scheduled, index) => {
    batch.queryStart[index] = row;
    packRows(batch, scheduled, row);
    packSamples(batch.samples, scheduled, row);
    const end = scheduled.start + scheduled.numTokens;
    batch.contextLengths[index] = end;
    batch.blockTables.push(new Uint32Array(scheduled.sequence.blockTable.slice(0, blocksFor(end))));
    row += scheduled.numTokens;
  });
  batch.queryStart[step.length] = row;
  const keptStates = step.flatMap(({ keptStates = [] }, sequence) =>
    keptStates.map((kept) => ({ sequence, ...kept }))
  );
  const slots = step.flatMap(({ sequence: { heldState } }) => heldState?.slot ?? []);
  return {
    ...batch,
    ...(slots.length > 0 && { stateSlots: Uint32Array.from(slots) }),
    ...(parks.length + unparks.length > 0 && { moves: { parks, unparks } }),
    ...(copies.length > 0 && { copies }),
    ...(stateCopies.length > 0 && { stateCopies }),
    ...(keptStates.length > 0 && { keptStates }),
  };
}

function packRows(batch: StepBatch, scheduled: ScheduledSequence, row: number) {
  const { sequence, start, numTokens } = scheduled;
  for (let i = 0; i < numTokens; i++) {
    const position = start + i;
    batch.tokenIds[row + i] = tokenOf(scheduled, i);
    batch.positions[row + i] = position;
    const block = sequence.blockTable[Math.floor(position / BLOCK_SIZE)];
    batch.slotMapping[row + i] = block * BLOCK_SIZE + position % BLOCK_SIZE;
  }
}

/** The token of a sequence's row `i`. */
function tokenOf({ sequence, start, numTokens, drawnBy, drafts }: ScheduledSequence, i: number): number {
  if (drawnBy !== undefined) return drawnBefore(drawnBy);
  const firstDraft = numTokens - drafts.length;
  return i < firstDraft ? sequence.tokenId(start + i) : drafts[i - firstDraft].id;
}

function packSamples(samples: SampleRequest[], scheduled: ScheduledSequence, row: number) {
  const { sequence, start, numTokens, draws, drafts, scoreStart, scoreEnd, allowed, drawnBy } = scheduled;
  const { params, topLogprobs } = sequence;
  const counter = sequence.numGenerated + (drawnBy === undefined ? 0 : 1);
  for (let index = scoreStart; index < scoreEnd; index++) {
    const target = sequence.tokenId(index + 1);
    samples.push({ row: row + index - start, params, counter: 0, topLogprobs, target });
  }
  if (!draws) return;
  // A draw depends on its row's logits and on its counter alone, so those that hold are as they would be one a step.
  const lastRow = row + numTokens - 1 - drafts.length;
  for (const [index, { adjustments }] of [scheduled, ...drafts].entries()) {
    samples.push({
      ...{ row: lastRow + index, params, counter: counter + index, topLogprobs },
      ...(adjustments.length > 0 && { adjustments }),
      ...(allowed && { allowed }), // Then there are no drafts.
    });
  }
}
