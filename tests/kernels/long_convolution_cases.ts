// The table of cases for the long convolution: sequences of many lengths in one step. Knows no device, so that every
// backend runs the same table.
import { columnsOf } from "../../kernels/columns.ts";
import type { Graph } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import type { StepLimits } from "../../kernels/step.ts";
import type { WeightRef } from "../../kernels/tensor_source.ts";
import { MemorySource } from "./memory_source.ts";
import type { Random } from "./random.ts";
import { type Scheduled, scheduleSteps } from "./scheduled_steps.ts";

export interface LongConvolutionCase {
  readonly name: string;
  readonly width: number;
  readonly taps: number;
  /** Tokens of every sequence, step by step. */
  readonly schedule: readonly (readonly number[])[];
  /** Which operands there are beside the input; "columns": all, the input among them, of one value. */
  readonly operands: readonly ("before" | "after" | "carried")[] | "columns";
}

export interface LongConvolutionProblem extends Scheduled {
  readonly graph: Graph;
  readonly source: MemorySource;
}

/** Largest error allowed, relative to the largest output: of transforms in f32. */
export const LONG_CONVOLUTION_TOLERANCE = 2e-6;

const ALL = ["before", "after", "carried"] as const;

export const LONG_CONVOLUTION_CASES: readonly LongConvolutionCase[] = [
  convolution(1, 1, [[1]], []),
  convolution(5, 200, [[1, 2, 7, 64, 65, 100]], ALL),
  convolution(33, 300, [[3, 255, 256, 257], [1, 1, 1, 1], [31, 2, 300, 0]], ["before", "after"]),
  convolution(40, 7, [[33, 1, 64]], ["after"]),
  convolution(3, 2000, [[1000, 1025], [1, 2], [1, 1]], "columns"),
  convolution(2, 2048, [[2048], [2047]], ["before"]),
  convolution(2, 5000, [[2049, 0], [1, 1], [0, 4096]], ["carried"]),
];

/** For workgroups that hold 256 points: all but the shortest sequences take three passes. */
export const PASSES_CASES: readonly LongConvolutionCase[] = [
  convolution(3, 700, [[257, 512, 100, 300]], ALL),
  convolution(5, 1025, [[1025, 513, 600], [0, 1, 1024]], ["before"]),
  convolution(2, 5000, [[4096], [2049], [3]], "columns"),
];

/** Lengths that need 32 KiB of workgroup memory, or several passes. */
export const LONGEST_CASES: readonly LongConvolutionCase[] = [
  convolution(2, 8192, [[8192], [5000]], ["before", "after"]),
  convolution(1, 70_000, [[65_536]], ["before"]),
];

function convolution(
  width: number,
  taps: number,
  schedule: readonly (readonly number[])[],
  operands: LongConvolutionCase["operands"],
): LongConvolutionCase {
  const named = operands === "columns" ? operands : operands.join(" ");
  const name = `${width} channels, ${taps} taps, ${
    schedule.map((counts) => counts.join("+")).join(", ")
  } tokens ${named}`;
  return { name: name.trim(), width, taps, schedule, operands };
}

/** Filters are noise that decays, with a last tap as large as the first: what wraps around would show. */
export function buildLongConvolution(
  { width, taps, schedule, operands }: LongConvolutionCase,
  random: Random,
  limits?: StepLimits,
): LongConvolutionProblem {
  const source = new MemorySource(), builder = new GraphBuilder();
  const noise = random.normals(width * taps);
  const decayed = noise.map((x, at) => {
    const lag = at % taps;
    return lag === taps - 1 ? Math.sign(x) : x * Math.exp(-4 * lag / taps);
  });
  const filter = source.add("filter", [width, taps], decayed);
  const graph = builder.build(
    operands === "columns" ? ofColumns(builder, width, filter) : builder.longConvolution(
      builder.input("x", width),
      filter,
      Object.fromEntries(operands.map((name) => [name, builder.input(name, width)])),
    ),
  );
  return { graph, source, ...scheduleSteps(graph, schedule, random, limits) };
}

/** All operands lie in one value, none at a multiple of four columns. */
function ofColumns(builder: GraphBuilder, width: number, filter: WeightRef) {
  const all = builder.input("all", 4 * width + 3);
  const part = (i: number) => columnsOf(all, i * width + i, width);
  return builder.longConvolution(part(0), filter, { before: part(1), after: part(2), carried: part(3) });
}
