// A graph of dense ops with weights, and the steps that it is run by: random rows, ids, positions and samples. Knows no case.
import type { Graph, Value } from "../../kernels/graph.ts";
import type { GraphBuilder } from "../../kernels/graph_builder.ts";
import type { StepBatch, StepLimits } from "../../kernels/step.ts";
import type { MemorySource } from "./memory_source.ts";
import type { Random } from "./random.ts";

export interface DenseStep {
  readonly batch: StepBatch;
  /** By input name, [rows, width]. */
  readonly inputs: Readonly<Record<string, Float32Array<ArrayBuffer>>>;
}

export interface DenseProblem {
  readonly graph: Graph;
  readonly source: MemorySource;
  readonly limits: StepLimits;
  /** Run one after the other on the same plan. */
  readonly steps: readonly DenseStep[];
}

export const VOCAB_SIZE = 211;
export const MAX_POSITIONS = 96;
/** Enough for every case, as kernels with the same limits are often the same code, which is compiled once. */
const LIMITS: StepLimits = {
  maxTokens: 640,
  maxSequences: 1,
  maxSamples: 640,
  maxBlocksPerSequence: 40,
  numBlocks: 40,
};

/** Steps of `rowCounts` tokens each; every one samples as many rows, in random order and with repetition. */
export function problem(
  random: Random,
  graph: GraphBuilder,
  output: Value,
  source: MemorySource,
  rowCounts: readonly number[],
  mean = 0,
): DenseProblem {
  const built = graph.build(output);
  const steps = rowCounts.map((rows) => ({
    batch: denseBatch(random, rows),
    inputs: Object.fromEntries(
      built.nodes.flatMap((node) =>
        node.op === "input" ? [[node.name, random.normals(rows * node.output.width, mean)]] : []
      ),
    ),
  }));
  return { graph: built, source, limits: LIMITS, steps };
}

/** A batch of one sequence whose ids and positions are random: none of the dense ops minds. */
function denseBatch(random: Random, rows: number): StepBatch {
  const params = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] as const };
  return {
    tokenIds: random.integers(rows, VOCAB_SIZE),
    positions: random.integers(rows, MAX_POSITIONS),
    slotMapping: Uint32Array.from({ length: rows }, (_, i) => i),
    queryStart: Uint32Array.of(0, rows),
    contextLengths: Uint32Array.of(rows),
    blockTables: [Uint32Array.from({ length: Math.ceil(rows / 16) }, (_, i) => i)],
    samples: Array.from({ length: rows }, () => ({
      row: random.below(rows),
      params,
      counter: 0,
      topLogprobs: -1,
    })),
    readLogits: true,
  };
}

/** With no more room than its steps need, where bindings are limited. */
export function within(maxBindingBytes: number | undefined, problem: DenseProblem): DenseProblem {
  if (!maxBindingBytes) return problem;
  const most = Math.max(...problem.steps.map(({ batch }) => batch.tokenIds.length));
  const blocks = Math.ceil(most / 16);
  const limits = { maxTokens: most, maxSamples: most, maxBlocksPerSequence: blocks, numBlocks: blocks };
  return { ...problem, limits: { ...LIMITS, ...limits } };
}

/** With numbers that f16 holds: forms that round their input to f16 then compute the same. */
export function withHalves(problem: DenseProblem): DenseProblem {
  for (const { inputs } of problem.steps) {
    for (const values of Object.values(inputs)) {
      values.forEach((value, i) => values[i] = Math.f16round(value));
    }
  }
  return problem;
}
