// Times decode steps of a batch whose contexts are taken for computed: as many steps in flight as the runner takes, each
// going on with what the step before has drawn.
import { BLOCK_SIZE, drawnBefore, type StepBatch, type StepResult } from "../../../kernels/step.ts";
import type { ModelRunner } from "../../../models/runner.ts";
import { median } from "../../median.ts";

export interface DecodeCase {
  readonly batch: number;
  /** Whole blocks of each sequence, full when the last step has run. */
  readonly blocks: number;
}

export interface DecodeEffort {
  readonly warmUpMs: number;
  /** Steps between two looks at the clock, and how many times. */
  readonly stepsPerRound: number;
  readonly rounds: number;
  readonly mean: boolean;
}

const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] } as const;

/** Milliseconds a step: the median of the rounds, or their mean where single steps do the work of many. */
export async function timeDecodeSteps(
  runner: ModelRunner,
  shape: DecodeCase,
  { warmUpMs, stepsPerRound, rounds, mean }: DecodeEffort,
): Promise<number> {
  const first = shape.blocks * BLOCK_SIZE - rounds * stepsPerRound;
  if (first < 0) {
    throw new RangeError(`Cannot measure: ${rounds * stepsPerRound} steps do not fit the context`);
  }
  const tables = blockTables(shape), end = performance.now() + warmUpMs;
  do await run(runner, tables, first, stepsPerRound); while (performance.now() < end);
  const durations: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const began = performance.now();
    await run(runner, tables, first + round * stepsPerRound, stepsPerRound);
    durations.push((performance.now() - began) / stepsPerRound);
  }
  return mean ? durations.reduce((sum, ms) => sum + ms, 0) / rounds : median(durations);
}

/** Made once: for long contexts of many sequences it takes longer than their step. Blocks of a sequence lie side by side. */
function blockTables({ batch, blocks }: DecodeCase): Uint32Array[] {
  const all = Uint32Array.from({ length: batch * blocks }, (_, i) => i);
  return Array.from({ length: batch }, (_, s) => all.subarray(s * blocks, (s + 1) * blocks));
}

async function run(
  runner: ModelRunner,
  tables: readonly Uint32Array[],
  first: number,
  count: number,
): Promise<void> {
  const underWay: Promise<StepResult>[] = [];
  for (let i = 0; i < count; i++) {
    if (underWay.length === runner.stepsInFlight) await underWay.shift();
    underWay.push(runner.step(decodeBatch(tables, first + i, i > 0 && runner.stepsInFlight > 1)));
  }
  await Promise.all(underWay);
}

/** A token of every sequence at `position`. */
function decodeBatch(tables: readonly Uint32Array[], position: number, goesOn: boolean): StepBatch {
  const batch = tables.length;
  const perSequence = <T>(value: (s: number) => T) => Array.from({ length: batch }, (_, s) => value(s));
  const used = Math.floor(position / BLOCK_SIZE) + 1;
  return {
    tokenIds: Uint32Array.from(perSequence((s) => goesOn ? drawnBefore(s) : 32 + s)),
    positions: new Uint32Array(batch).fill(position),
    slotMapping: Uint32Array.from(perSequence((s) => tables[s][0] * BLOCK_SIZE + position)),
    queryStart: Uint32Array.from({ length: batch + 1 }, (_, s) => s),
    contextLengths: new Uint32Array(batch).fill(position + 1),
    blockTables: perSequence((s) => tables[s].subarray(0, used)),
    stateSlots: Uint32Array.from(perSequence((s) => s)),
    samples: perSequence((row) => ({ row, params: GREEDY, counter: position, topLogprobs: -1 })),
  };
}
