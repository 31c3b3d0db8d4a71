// The table of cases for paged attention: sequences of random rows, fed in steps as an engine would. Knows no device, so
// that every backend runs the same table.
import { INT8_GROUP, type KvType } from "../../kernels/attention/kv_layout.ts";
import type { Graph } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { BLOCK_SIZE, type BlockCopy, type StepBatch, type StepLimits } from "../../kernels/step.ts";
import { EVERY_CASE } from "../every_case.ts";
import type { Random } from "./random.ts";

export interface AttentionStep {
  readonly batch: StepBatch;
  /** x: [tokens, (numHeads + 2 * numKvHeads) * headSize] */
  readonly inputs: { readonly x: Float32Array<ArrayBuffer> };
}

export interface AttentionProblem {
  /** input "x" -> attention; the output of a step comes back as its logits. */
  readonly graph: Graph;
  readonly limits: StepLimits;
  /** Run one after the other on the same cache. */
  readonly steps: readonly AttentionStep[];
}

/** [heads, KV heads, columns of a head] */
export type HeadShape = readonly [numHeads: number, numKvHeads: number, headSize: number];

/**
 * plain: all N(0, 1). peaky: queries 8 times as large. uniform: all keys of a sequence the same. rising: every eighth key
 * is larger than those before, so that scores pass their maximum again and again.
 */
export type RowKind = "plain" | "peaky" | "uniform" | "rising";

export interface AttentionCase {
  readonly name: string;
  readonly heads: HeadShape;
  /** Storage of the cache, where the device gives a choice. */
  readonly kvType: KvType;
  /** New tokens of every sequence, step by step; 0 leaves a sequence out. */
  readonly schedule: readonly (readonly number[])[];
  /** Sequences to make room for, where more than there are. */
  readonly maxSequences?: number;
  /** All sequences are the same; all but the first get this many rows of it by copies, right before their own first. */
  readonly copied?: number;
  /** Keys that a row sees at most. */
  readonly window?: number;
}

/** Largest error allowed, relative to the largest output. */
export const ATTENTION_TOLERANCE = 2e-5;
/** The same where matrix units multiply the weights of the values, rounded to f16. */
export const HALVES_TOLERANCE = 1e-3;

const QUERIES = [1, 7, 16, 17, 33, 100], PREFIXES = [0, 1, 15, 16, 37, 256];
/** Every prefix with every number of new tokens. */
const ALL_PAIRS = withDecodes([
  PREFIXES.flatMap((prefix) => QUERIES.map(() => prefix)),
  PREFIXES.flatMap(() => QUERIES),
]);
/** A few of them, and a step in which decodes and chunks of prompts are mixed. */
const SOME_PAIRS = withDecodes([[0, 1, 15, 16, 37, 70], [33, 17, 1, 16, 7, 1], [1, 1, 20, 1, 0, 1]]);
/** Prompts below and far beyond a window, in one chunk and in several. */
const WINDOW_PAIRS = withDecodes([[0, 1, 37, 200, 16, 300], [33, 120, 100, 17, 1, 1], [1, 1, 100, 1, 0, 33]]);

/** Of shapes that have nothing of their own but their sizes. */
export const SHAPE_CASES: readonly AttentionCase[] = [
  attentionCase([6, 1, 32], "f32"),
  attentionCase([8, 2, 40], "f16"),
  attentionCase([4, 4, 80], "f32"),
  attentionCase([16, 1, 128], "f16"),
  attentionCase([34, 1, 16], "f32"),
  attentionCase([5, 1, 66], "f16"),
  attentionCase([1, 1, 4], "f32"),
  attentionCase([8, 1, 64], "i8"),
];

/** Windows that end within a tile, a split and a block, and that see a row's own key alone. */
const WINDOW_CASES: readonly AttentionCase[] = [
  windowed(attentionCase([8, 1, 64], "f16", WINDOW_PAIRS), 37),
  windowed(attentionCase([16, 1, 16], "f16", WINDOW_PAIRS), 16),
  windowed(attentionCase([16, 1, 16], "f16", WINDOW_PAIRS), 1),
  windowed(attentionCase([3, 3, 33], "i8", WINDOW_PAIRS), 16),
  windowed(attentionCase([1, 1, 4], "f32", WINDOW_PAIRS), 1),
  windowed(attentionCase([4, 2, 8], "f32", [[1000, 3], [1040, 1], [1, 1], [1, 90], [1, 1]]), 300),
];

/** More tokens than a grid may have workgroups along one dimension. */
const LARGE_CASES: readonly AttentionCase[] = (["f32", "i8"] as const).map((type) => ({
  ...attentionCase([1, 1, 4], type, [Array<number>(1025).fill(64)]),
  name: `65,600 tokens at once, ${type} cache`,
}));

const OTHER_CASES: readonly AttentionCase[] = [
  attentionCase([8, 1, 64], "f16", ALL_PAIRS),
  attentionCase([2, 1, 256], "f32"),
  attentionCase([32, 2, 16], "f16"),
  attentionCase([3, 3, 33], "f32"),
  attentionCase([3, 3, 33], "f16"),
  attentionCase([3, 3, 33], "i8"),
  {
    ...attentionCase([4, 2, 8], "f32", [[1000, 3], [1040, 1], [1, 1], [1, 90], [1, 1]]),
    name: "long context",
  },
  // So many sequences that the split form's working memory cannot be bound everywhere.
  {
    ...attentionCase([16, 1, 32], "f16", [[130, 1], [1, 1], [1, 1]]),
    maxSequences: 9000,
    name: "very many sequences",
  },
  ...([[8, 1, 64, "f16"], [3, 3, 33, "f16"], [3, 3, 33, "f32"], [3, 3, 33, "i8"]] as const).map((
    [heads, kvHeads, size, type],
  ) => ({
    ...attentionCase([heads, kvHeads, size], type, [[37, 0, 0], [5, 3, 0], [1, 1, 20], [1, 1, 1]]),
    name: `${heads}/${kvHeads} heads of ${size}, ${type} cache, copied blocks`,
    copied: 37,
  })),
];

export const ATTENTION_CASES: readonly AttentionCase[] = [
  ...OTHER_CASES,
  ...SHAPE_CASES,
  ...WINDOW_CASES,
  ...LARGE_CASES,
];

/** For a GPU in software, which compiles a case for seconds: some of what is alike, drawn, and all else. */
export function drawAttentionCases(random: Random): readonly AttentionCase[] {
  if (EVERY_CASE) return ATTENTION_CASES;
  return [
    ...OTHER_CASES,
    ...random.choose(SHAPE_CASES, 2),
    ...random.choose(WINDOW_CASES, 1),
    ...random.choose(LARGE_CASES, 1),
  ];
}

function windowed(attentionCase: AttentionCase, window: number): AttentionCase {
  return { ...attentionCase, name: `${attentionCase.name}, window of ${window}`, window };
}

function attentionCase(
  heads: HeadShape,
  kvType: KvType,
  schedule: readonly (readonly number[])[] = SOME_PAIRS,
): AttentionCase {
  const [numHeads, numKvHeads, headSize] = heads;
  return { name: `${numHeads}/${numKvHeads} heads of ${headSize}, ${kvType} cache`, heads, kvType, schedule };
}

function withDecodes(schedule: number[][]): number[][] {
  return [...schedule, schedule[0].map(() => 1), schedule[0].map(() => 1)];
}

/** The case's sequences with random rows, of all kinds in turn, in randomly placed blocks. */
export function buildAttention(attentionCase: AttentionCase, random: Random): AttentionProblem {
  const { heads, schedule } = attentionCase;
  const copied = attentionCase.copied ?? 0;
  const totals = schedule[0].map((_, s) =>
    schedule.reduce((sum, counts) => sum + counts[s], s === 0 ? 0 : copied)
  );
  const kinds: RowKind[] = ["plain", "peaky", "uniform", "rising"];
  const fitting = attentionCase.kvType === "i8"
    ? onInt8Grid
    : (_: HeadShape, rows: Float32Array<ArrayBuffer>) => rows;
  const rows = totals.map((total, s) =>
    fitting(heads, randomRows(random, heads, kinds[s % kinds.length], total))
  );
  const { maxSequences, window } = attentionCase;
  if (copied === 0) {
    return scheduleAttention(heads, rows, schedule, random, {
      ...(maxSequences && { maxSequences }),
      ...(window && { window }),
    });
  }
  const longest = fitting(heads, randomRows(random, heads, "plain", Math.max(...totals)));
  const same = rows.map(({ length }) => longest.subarray(0, length));
  return scheduleAttention(heads, same, schedule, random, { copied });
}

/**
 * The rows of one sequence, of numbers that f16 holds: both kinds of cache then hold the same, and forms that round
 * queries compute with the same.
 */
export function randomRows(
  random: Random,
  [numHeads, numKvHeads, headSize]: HeadShape,
  kind: RowKind,
  count: number,
): Float32Array<ArrayBuffer> {
  const queryWidth = numHeads * headSize, kvWidth = numKvHeads * headSize, width = queryWidth + 2 * kvWidth;
  const rows = random.normals(count * width);
  for (let at = 0; at < rows.length; at++) {
    const row = Math.floor(at / width), column = at % width;
    rows[at] = Math.f16round(rows[at]);
    if (column < queryWidth && kind === "peaky") rows[at] *= 8;
    if (column >= queryWidth && column < queryWidth + kvWidth && kind === "rising") {
      rows[at] = Math.f16round(rows[at] * (1 + (row >> 3)));
    }
    if (kind === "uniform" && row > 0 && column >= queryWidth && column < queryWidth + kvWidth) {
      rows[at] = rows[column];
    }
  }
  return rows;
}

/** With keys and values that int8 holds, each group of a head's to a scale of its own: a cache in int8 then holds the same. */
function onInt8Grid(
  [numHeads, numKvHeads, headSize]: HeadShape,
  rows: Float32Array<ArrayBuffer>,
): Float32Array<ArrayBuffer> {
  const width = (numHeads + 2 * numKvHeads) * headSize;
  for (let at = 0; at < rows.length; at += headSize) {
    if (at % width < numHeads * headSize) continue;
    for (let column = 0; column < headSize; column += INT8_GROUP) {
      const group = rows.subarray(at + column, at + Math.min(column + INT8_GROUP, headSize));
      const scale = Math.max(...group.map(Math.abs)) / 127;
      if (scale > 0) group.forEach((value, i) => group[i] = Math.round(value / scale) * scale);
    }
  }
  return rows;
}

/** Enough for most cases: kernels have limits as constants, so that equal ones spare software compiling. */
const LEAST = { tokens: 2048, sequences: 36, blocksPerSequence: 130 };

/** Feeds sequences, whose rows are given, in the steps of `schedule`; their blocks are placed at random. */
export function scheduleAttention(
  heads: HeadShape,
  rows: readonly Float32Array<ArrayBuffer>[],
  schedule: readonly (readonly number[])[],
  random: Random,
  { maxSequences = rows.length, copied = 0, window }: {
    readonly maxSequences?: number;
    readonly copied?: number;
    readonly window?: number;
  } = {},
): AttentionProblem {
  const graph = attentionGraph(heads, window);
  const width = graph.nodes[0].output.width;
  const blocksOf = rows.map((sequence) => Math.ceil(sequence.length / width / BLOCK_SIZE));
  const limits: StepLimits = {
    maxTokens: Math.max(LEAST.tokens, ...schedule.map((counts) => counts.reduce((a, b) => a + b))),
    maxSequences: Math.max(LEAST.sequences, maxSequences),
    maxSamples: 1,
    maxBlocksPerSequence: Math.max(LEAST.blocksPerSequence, Math.max(...blocksOf) + 1),
    numBlocks: blocksOf.reduce((a, b) => a + b) + 2,
  };
  const blockTables = placeBlocks(blocksOf, limits.numBlocks, random);
  const done = rows.map((_, sequence) => sequence === 0 ? 0 : copied);
  const steps = schedule.map((counts) => {
    const starting = counts.flatMap((count, sequence) =>
      sequence > 0 && count > 0 && done[sequence] === copied ? [blockTables[sequence]] : []
    );
    const copies = starting.flatMap((table) => copiesOf(copied, blockTables[0], table));
    const parts = counts.flatMap((count, sequence) => {
      if (count === 0) return [];
      const first = done[sequence];
      done[sequence] += count;
      return [{ first, count, rows: rows[sequence], blockTable: blockTables[sequence] }];
    });
    const { batch, inputs } = packStep(parts, width, limits.maxBlocksPerSequence);
    return copies.length > 0 ? { batch: { ...batch, copies }, inputs } : { batch, inputs };
  });
  return { graph, limits, steps };
}

function copiesOf(numRows: number, from: Uint32Array, to: Uint32Array): BlockCopy[] {
  return Array.from({ length: Math.ceil(numRows / BLOCK_SIZE) }, (_, i) => {
    const rows = Math.min(BLOCK_SIZE, numRows - i * BLOCK_SIZE);
    return { from: from[i], to: to[i], rows };
  });
}

function attentionGraph([numHeads, numKvHeads, headSize]: HeadShape, window?: number): Graph {
  const builder = new GraphBuilder();
  const x = builder.input("x", (numHeads + 2 * numKvHeads) * headSize);
  const shape = { numHeads, numKvHeads, headSize, scale: headSize ** -0.5, ...(window && { window }) };
  return builder.build(builder.attention(x, shape));
}

function placeBlocks(blocksOf: readonly number[], numBlocks: number, random: Random): Uint32Array[] {
  const free = Array.from({ length: numBlocks }, (_, id) => id);
  for (let i = free.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [free[i], free[j]] = [free[j], free[i]];
  }
  return blocksOf.map((count) => Uint32Array.from(free.splice(0, count)));
}

interface Part {
  /** Position of the first new token. */
  readonly first: number;
  readonly count: number;
  readonly rows: Float32Array;
  readonly blockTable: Uint32Array;
}

function packStep(parts: readonly Part[], width: number, maxBlocks: number): AttentionStep {
  const positions = parts.flatMap(({ first, count }) => Array.from({ length: count }, (_, i) => first + i));
  const slots = parts.flatMap(({ first, count, blockTable }) =>
    Array.from({ length: count }, (_, i) => {
      const position = first + i;
      return blockTable[Math.floor(position / BLOCK_SIZE)] * BLOCK_SIZE + position % BLOCK_SIZE;
    })
  );
  const queryStart = [0];
  for (const { count } of parts) queryStart.push(queryStart.at(-1)! + count);
  const x = new Float32Array(positions.length * width);
  parts.forEach(({ first, count, rows }, i) => {
    x.set(rows.subarray(first * width, (first + count) * width), queryStart[i] * width);
  });
  const batch: StepBatch = {
    tokenIds: new Uint32Array(positions.length),
    positions: Uint32Array.from(positions),
    slotMapping: Uint32Array.from(slots),
    queryStart: Uint32Array.from(queryStart),
    contextLengths: Uint32Array.from(parts, ({ first, count }) => first + count),
    blockTables: parts.map(({ first, count, blockTable }) =>
      withGarbage(blockTable.subarray(0, Math.ceil((first + count) / BLOCK_SIZE)), maxBlocks)
    ),
    samples: [],
    readLogits: true,
  };
  return { batch, inputs: { x } };
}

/** What lies in a table behind the blocks that the context needs must never be read. */
function withGarbage(blocks: Uint32Array, maxBlocks: number): Uint32Array {
  const table = new Uint32Array(maxBlocks).fill(0xffffffff);
  table.set(blocks);
  return table;
}
