// An operator as benchmarks see it: a graph without projections, and what it must give. One sequence, all rows in one step.
import type { Graph } from "../../../kernels/graph.ts";
import { BLOCK_SIZE, type StepBatch } from "../../../kernels/step.ts";
import { uniforms } from "../random_values.ts";
import type { RandomVectors } from "../random_vectors.ts";

export type Inputs = Readonly<Record<string, Float32Array<ArrayBuffer>>>;

/** A graph of inputs by name, and the output that one channel must have at token `t`. */
export interface Operator {
  readonly graph: Graph;
  readonly weights: RandomVectors;
  /** Largest error, relative to the largest output of the sample. */
  readonly tolerance: number;
  /** Outputs that are checked. */
  readonly samples: number;
  expected(inputs: Inputs, channel: number, t: number): number;
}

export function randomInputs({ nodes }: Graph, rows: number): Inputs {
  return Object.fromEntries(
    nodes.flatMap((node) =>
      node.op === "input" ? [[node.name, uniforms(rows * node.output.width)] as const] : []
    ),
  );
}

/** Of outputs drawn at random, relative to the largest of them. */
export function sampleError(operator: Operator, inputs: Inputs, y: Float32Array, length: number): number {
  const { width } = operator.graph.output;
  let largest = 0, worst = 0;
  for (let i = 0; i < operator.samples; i++) {
    const channel = Math.floor(Math.random() * width), t = Math.floor(Math.random() * length);
    const expected = operator.expected(inputs, channel, t);
    largest = Math.max(largest, Math.abs(expected));
    worst = Math.max(worst, Math.abs(expected - y[t * width + channel]));
  }
  return worst / largest;
}

/** The whole of one sequence. */
export function wholeSequence(length: number): StepBatch {
  const positions = Uint32Array.from({ length }, (_, i) => i);
  return {
    tokenIds: new Uint32Array(length),
    positions,
    slotMapping: positions,
    queryStart: Uint32Array.of(0, length),
    contextLengths: Uint32Array.of(length),
    blockTables: [Uint32Array.from({ length: Math.ceil(length / BLOCK_SIZE) }, (_, i) => i)],
    stateSlots: Uint32Array.of(0),
    samples: [],
  };
}
