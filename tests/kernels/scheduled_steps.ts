// Steps of several sequences: new tokens of every sequence, step by step, with random inputs, in random blocks and state
// slots.
import type { Graph } from "../../kernels/graph.ts";
import { BLOCK_SIZE, type StepBatch, type StepLimits } from "../../kernels/step.ts";
import type { Random } from "./random.ts";

export interface ScheduledStep {
  readonly batch: StepBatch;
  /** By input name, [tokens, width]. */
  readonly inputs: Readonly<Record<string, Float32Array<ArrayBuffer>>>;
}

export interface Scheduled {
  readonly limits: StepLimits;
  readonly steps: readonly ScheduledStep[];
}

/** New tokens of every sequence in every step; 0 leaves a sequence out. */
export type Schedule = readonly (readonly number[])[];

/** Limits that hold all of `schedules`. Kernels have them as constants, so that equal limits spare software compiling. */
export function limitsFor(schedules: readonly Schedule[]): StepLimits {
  const most = (of: (schedule: Schedule) => number) => Math.max(...schedules.map(of));
  const maxSequences = most(([first]) => first.length);
  return {
    maxTokens: most((schedule) => Math.max(...schedule.map((counts) => counts.reduce((a, b) => a + b)))),
    maxSequences,
    maxSamples: 1,
    maxBlocksPerSequence: Math.ceil(most((schedule) => Math.max(...totalsOf(schedule))) / BLOCK_SIZE),
    numBlocks: most((schedule) => totalsOf(schedule).reduce((sum, total) => sum + blocksOf(total), 0)) + 2,
    numStateSlots: maxSequences + 2,
  };
}

function totalsOf(schedule: Schedule): number[] {
  return schedule[0].map((_, s) => schedule.reduce((sum, counts) => sum + counts[s], 0));
}

function blocksOf(tokens: number): number {
  return Math.ceil(tokens / BLOCK_SIZE);
}

export function scheduleSteps(
  graph: Graph,
  schedule: Schedule,
  random: Random,
  limits = limitsFor([schedule]),
): Scheduled {
  const draw = (count: number) => {
    const left = Array.from({ length: count }, (_, index) => index);
    return () => left.splice(random.below(left.length), 1)[0];
  };
  const drawSlot = draw(limits.numStateSlots!), drawBlock = draw(limits.numBlocks);
  const slotOf = schedule[0].map(drawSlot);
  const tableOf = totalsOf(schedule).map((total) => Uint32Array.from({ length: blocksOf(total) }, drawBlock));
  const done = schedule[0].map(() => 0);
  const steps = schedule.map((counts) => {
    const batch = batchOf(counts, done, slotOf, tableOf);
    counts.forEach((count, s) => done[s] += count);
    const inputs = Object.fromEntries(
      graph.nodes.flatMap((node) =>
        node.op === "input"
          ? [[node.name, random.normals(batch.tokenIds.length * node.output.width)] as const]
          : []
      ),
    );
    return { batch, inputs };
  });
  return { limits, steps };
}

function batchOf(
  counts: readonly number[],
  done: readonly number[],
  slotOf: readonly number[],
  tableOf: readonly Uint32Array[],
): StepBatch {
  const present = counts.flatMap((count, s) => count > 0 ? [s] : []);
  const positions = present.flatMap((s) => Array.from({ length: counts[s] }, (_, i) => done[s] + i));
  const slotMapping = present.flatMap((s) =>
    Array.from({ length: counts[s] }, (_, i) => slotOfToken(tableOf[s], done[s] + i))
  );
  const queryStart = [0];
  for (const s of present) queryStart.push(queryStart.at(-1)! + counts[s]);
  return {
    tokenIds: new Uint32Array(positions.length),
    positions: Uint32Array.from(positions),
    slotMapping: Uint32Array.from(slotMapping),
    queryStart: Uint32Array.from(queryStart),
    contextLengths: Uint32Array.from(present, (s) => done[s] + counts[s]),
    blockTables: present.map((s) => tableOf[s]),
    stateSlots: Uint32Array.from(present, (s) => slotOf[s]),
    samples: [],
    readLogits: true,
  };
}

/** The cache slot of a position. */
export function slotOfToken(table: Uint32Array, position: number): number {
  return table[Math.floor(position / BLOCK_SIZE)] * BLOCK_SIZE + position % BLOCK_SIZE;
}

/** The outputs of all steps, to be compared as one: a step of one token may have a small output by chance. */
export function joined(outputs: readonly (Float32Array | Float64Array)[]): Float64Array {
  const all = new Float64Array(outputs.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const output of outputs) {
    all.set(output, at);
    at += output.length;
  }
  return all;
}
