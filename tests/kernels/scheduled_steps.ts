// Steps of several sequences for ops that know no cache: new tokens of every sequence, step by step, with random inputs,
// in random state slots.
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
    numBlocks: 1,
    numStateSlots: maxSequences + 2,
  };
}

function totalsOf(schedule: Schedule): number[] {
  return schedule[0].map((_, s) => schedule.reduce((sum, counts) => sum + counts[s], 0));
}

export function scheduleSteps(
  graph: Graph,
  schedule: Schedule,
  random: Random,
  limits = limitsFor([schedule]),
): Scheduled {
  const slots = Array.from({ length: limits.numStateSlots! }, (_, slot) => slot);
  const slotOf = schedule[0].map(() => slots.splice(random.below(slots.length), 1)[0]);
  const done = schedule[0].map(() => 0);
  const steps = schedule.map((counts) => {
    const batch = batchOf(counts, done, slotOf, limits);
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
  limits: StepLimits,
): StepBatch {
  const present = counts.flatMap((count, s) => count > 0 ? [s] : []);
  const positions = present.flatMap((s) => Array.from({ length: counts[s] }, (_, i) => done[s] + i));
  const queryStart = [0];
  for (const s of present) queryStart.push(queryStart.at(-1)! + counts[s]);
  return {
    tokenIds: new Uint32Array(positions.length),
    positions: Uint32Array.from(positions),
    slotMapping: new Uint32Array(positions.length),
    queryStart: Uint32Array.from(queryStart),
    contextLengths: Uint32Array.from(present, (s) => done[s] + counts[s]),
    blockTables: present.map(() => new Uint32Array(limits.maxBlocksPerSequence)),
    stateSlots: Uint32Array.from(present, (s) => slotOf[s]),
    samples: [],
    readLogits: true,
  };
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
