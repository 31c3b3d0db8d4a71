// The table of cases for the history of long convolutions: histories and chunks of many lengths side by side. Knows no
// device, so that every backend runs the same table.
import { columnsOf } from "../../kernels/columns.ts";
import type { Graph } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import type { StepBatch, StepLimits } from "../../kernels/step.ts";
import { MemorySource } from "./memory_source.ts";
import type { Random } from "./random.ts";
import { type Schedule, type Scheduled, scheduleSteps, slotOfToken } from "./scheduled_steps.ts";

export interface ConvolutionHistoryCase {
  readonly name: string;
  readonly width: number;
  readonly taps: number;
  readonly schedule: Schedule;
  /** "columns": input and gate lie in one value. */
  readonly operands: "input" | "gated" | "columns";
}

export interface ConvolutionHistoryProblem extends Scheduled {
  readonly graph: Graph;
  readonly source: MemorySource;
}

/** Largest error allowed, relative to the largest output: of direct sums in f32 over a thousand lags. */
export const HISTORY_TOLERANCE = 5e-6;
/** The same where inputs are kept in f16. */
export const F16_HISTORY_TOLERANCE = 1e-3;

const LENGTHS = [1, 15, 16, 17, 63, 64, 65, 1000];

/** All lengths as histories, met by chunks of all lengths; then by single tokens, and by both. */
const ALL_LENGTHS: Schedule = [
  [...LENGTHS, 0],
  [...LENGTHS.toReversed(), 33],
  LENGTHS.map(() => 1).concat(1),
  [1, 0, 1, 5, 1, 16, 1, 1, 0],
  [3, 0, 0, 0, 64, 0, 17, 1, 1],
];
/** Only single tokens after the first step. */
const DECODES: Schedule = [[...LENGTHS], ...Array.from({ length: 18 }, () => LENGTHS.map(() => 1))];

export const HISTORY_CASES: readonly ConvolutionHistoryCase[] = [
  history(1, 1, [[1], [1]], "input"),
  history(5, 2000, ALL_LENGTHS, "gated"),
  history(66, 1100, ALL_LENGTHS, "input"),
  history(3, 40, ALL_LENGTHS, "columns"),
  history(7, 16, ALL_LENGTHS, "gated"),
  history(130, 900, DECODES, "columns"),
  history(33, 257, [[300, 0, 513], [1, 1, 1], [1, 1, 1]], "gated"),
  // More than 32 stretches of 256 inputs.
  history(2, 9000, [[8300, 4], [1, 1], [1, 1], [30, 1]], "input"),
];

/** Through several windows of 128 positions, with chunks, and rows of others, in between. */
const WINDOWS: Schedule = [
  [370, 1, 120, 64],
  ...Array.from({ length: 34 }, () => [1, 1, 1, 1]),
  [1, 1, 40, 0],
  [1, 0, 1, 30],
  ...Array.from({ length: 20 }, (_, i) => [1, i % 9 > 0 ? 1 : 0, 1, i === 9 ? 17 : 1]),
];

/** For sums that are made online. */
export const ONLINE_CASES: readonly ConvolutionHistoryCase[] = [
  history(70, 600, WINDOWS, "gated"),
  history(5, 100, WINDOWS, "input"),
  history(3, 1, [[1], [1]], "input"),
];

/** Windows of 64 positions begin, and are entered in between, at short contexts and at long ones. */
export const TRANSFORMED_CASE = history(
  40,
  600,
  [[500, 60, 121], ...Array.from({ length: 16 }, () => [1, 1, 1]), [1, 5, 1], [1, 1, 0], [1, 1, 1]],
  "gated",
);

/** Taps that take more bytes than all else: channels are divided. */
export const DIVIDED_ONLINE_CASE = history(
  70,
  1200,
  [[400], [400], [400], ...Array.from({ length: 20 }, () => [1])],
  "gated",
);

/** Taps of more bytes than the inputs of as many tokens in f16: channels are divided. */
export const DIVIDED_CASE = history(100, 1000, [[400], [400], [1], [150], [1]], "gated");
/** Less than its taps take, more than all else. */
export const DIVIDED_BINDING_BYTES = 250_000;

function history(
  width: number,
  taps: number,
  schedule: Schedule,
  operands: ConvolutionHistoryCase["operands"],
): ConvolutionHistoryCase {
  const name = `${width} channels, ${taps} taps, ${
    schedule[0].length
  } sequences of ${schedule.length} steps, ${operands}`;
  return { name, width, taps, schedule, operands };
}

export function buildHistory(
  historyCase: ConvolutionHistoryCase,
  random: Random,
  limits?: StepLimits,
): ConvolutionHistoryProblem {
  const { width, operands } = historyCase, source = new MemorySource(), builder = new GraphBuilder();
  const filter = addFilter(source, historyCase, random);
  if (operands === "columns") {
    const all = builder.input("all", 2 * width + 5);
    const before = columnsOf(all, 2, width), x = columnsOf(all, width + 5, width);
    return scheduled(builder.build(builder.convolutionHistory(x, filter, { before })), source, limits);
  }
  const x = builder.input("x", width);
  const options = operands === "gated" ? { before: builder.input("before", width) } : {};
  return scheduled(builder.build(builder.convolutionHistory(x, filter, options)), source, limits);

  function scheduled(graph: Graph, source: MemorySource, limits?: StepLimits) {
    return { graph, source, ...scheduleSteps(graph, historyCase.schedule, random, limits) };
  }
}

/** Noise that decays, with a last tap as large as the first: what is cut too early or too late would show. */
function addFilter(
  source: MemorySource,
  { width, taps }: Pick<ConvolutionHistoryCase, "width" | "taps">,
  random: Random,
) {
  const noise = random.normals(width * taps).map((x, at) => {
    const lag = at % taps;
    return lag === taps - 1 ? Math.sign(x) : x * Math.exp(-4 * lag / taps);
  });
  return source.add("filter", [width, taps], noise);
}

/** A whole convolution: what earlier steps give, and the rows of the step itself, between two gates. */
export function buildWholeConvolution(
  shape: Pick<ConvolutionHistoryCase, "width" | "taps">,
  random: Random,
): Pick<ConvolutionHistoryProblem, "graph" | "source"> {
  const { width } = shape, source = new MemorySource(), b = new GraphBuilder();
  const filter = addFilter(source, shape, random);
  const x = b.input("x", width), before = b.input("before", width), after = b.input("after", width);
  const carried = b.convolutionHistory(x, filter, { before });
  return { source, graph: b.build(b.longConvolution(x, filter, { before, after, carried })) };
}

/**
 * One sequence's history, gone on with by others: by one that shares its full blocks, in the same step, and by one that has
 * a copy of the block that is not full, in the first one's slot. `uncopied`: the same steps where that one goes on in the block itself.
 */
export function buildSharedBlocks(
  random: Random,
): ConvolutionHistoryProblem & { readonly uncopied: Scheduled } {
  const source = new MemorySource(), builder = new GraphBuilder(), width = 20;
  const filter = addFilter(source, { width, taps: 64 }, random);
  const graph = builder.build(builder.convolutionHistory(builder.input("x", width), filter));
  const table = [3, 1, 4], copied = [3, 1, 2], shared = [3, 1, 0, 5];
  const limits = {
    maxTokens: 40,
    maxSequences: 2,
    maxSamples: 1,
    maxBlocksPerSequence: 4,
    numBlocks: 6,
    numStateSlots: 3,
  };
  const stepsOf = (batches: readonly StepBatch[], inputs: readonly Float32Array<ArrayBuffer>[]) =>
    batches.map((batch, i) => ({ batch, inputs: { x: inputs[i] } }));
  const first = packRows([{ table, from: 0, to: 40 }]);
  const second = packRows([{ table, from: 40, to: 41 }, { table: shared, from: 32, to: 53 }]);
  const third = { ...packRows([{ table: copied, from: 40, to: 43 }]), copies: [{ from: 4, to: 2, rows: 8 }] };
  // Single tokens of both, of the one in the slot that another sequence had.
  const sharing = { table: shared, from: 53, to: 54 };
  const fourth = {
    ...packRows([sharing, { table: copied, from: 43, to: 44 }]),
    stateSlots: Uint32Array.of(1, 0),
    stateCopies: [{ from: 2, to: 0 }],
  };
  const inputs = [first, second, third, fourth].map(({ tokenIds }) =>
    random.normals(tokenIds.length * width)
  );
  const uncopied = [
    first,
    second,
    packRows([{ table, from: 40, to: 43 }]),
    packRows([sharing, { table, from: 43, to: 44 }]),
  ];
  return {
    graph,
    source,
    limits,
    steps: stepsOf([first, second, third, fourth], inputs),
    uncopied: { limits, steps: stepsOf(uncopied, inputs) },
  };
}

/** Positions `from` to `to` - 1 of each sequence. */
function packRows(
  sequences: readonly { readonly table: readonly number[]; readonly from: number; readonly to: number }[],
): StepBatch {
  const rows = sequences.flatMap(({ table, from, to }) =>
    Array.from({ length: to - from }, (_, i) => ({ table: Uint32Array.from(table), position: from + i }))
  );
  const queryStart = [0];
  for (const { from, to } of sequences) queryStart.push(queryStart.at(-1)! + to - from);
  return {
    tokenIds: new Uint32Array(rows.length),
    positions: Uint32Array.from(rows, ({ position }) => position),
    slotMapping: Uint32Array.from(rows, ({ table, position }) => slotOfToken(table, position)),
    queryStart: Uint32Array.from(queryStart),
    contextLengths: Uint32Array.from(sequences, ({ to }) => to),
    blockTables: sequences.map(({ table }) => Uint32Array.from(table)),
    stateSlots: Uint32Array.from(sequences, (_, s) => s),
    samples: [],
    readLogits: true,
  };
}
