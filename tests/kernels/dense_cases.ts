// The table of cases for the dense ops: graphs of one or a few ops with random weights and inputs. Knows no device, so
// that every backend runs the same table.
import { columnsOf } from "../../kernels/columns.ts";
import type { Activation } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import type { TensorDtype } from "../../kernels/tensor_source.ts";
import { EVERY_CASE } from "../every_case.ts";
import {
  type DenseProblem,
  MAX_POSITIONS,
  problem,
  VOCAB_SIZE,
  withHalves,
  within,
} from "./dense_problem.ts";
import { MemorySource } from "./memory_source.ts";
import type { Random } from "./random.ts";

export interface DenseCase {
  readonly name: string;
  /** Most |error| relative to the largest |expected|, for arithmetic in f32. */
  readonly tolerance: number;
  /** The same where matrix units read activations rounded to f16; undefined = as exact, since all of them fit f16. */
  readonly halvesTolerance?: number;
  /** The same of steps of one row, where these are multiplied by int4 in whole numbers; undefined = as exact. */
  readonly fixedPointTolerance?: number;
  /** Force matrices into shards by a binding limit of this many bytes, where the device knows such a thing. */
  readonly maxBindingBytes?: number;
  build(random: Random): DenseProblem;
}

/** A few rounding errors of f32, on sums of up to some 500 products of random sign. */
const F32_TOLERANCE = 4e-6;
/** Rounding of activations of about 1 to f16, in chains of a few ops. */
const HALVES_TOLERANCE = 2e-3;
/** Rounding of activations to whole numbers, 15 bits of the largest of a group. */
const FIXED_POINT_TOLERANCE = 3e-5;
const STORAGES: readonly TensorDtype[] = ["F32", "F16", "BF16", "I8", "I4"];

interface LinearShape {
  /** Of the steps, which share what is compiled: few enough for each of the forms by rows, and many. */
  readonly rows: readonly number[];
  readonly inWidth: number;
  readonly outWidth: number;
  readonly bias?: boolean;
  readonly activation?: Activation;
  readonly residual?: boolean;
  /** Rows are samples, gathered from as many tokens, and not tokens. */
  readonly samples?: boolean;
  /** Standard deviation of the weights. */
  readonly deviation?: number;
  readonly maxBindingBytes?: number;
}

const LINEAR_SHAPES: readonly LinearShape[] = [
  { rows: [1], inWidth: 1, outWidth: 1 },
  { rows: [1, 200], inWidth: 17, outWidth: 33, bias: true },
  { rows: [2, 3], inWidth: 515, outWidth: 3, bias: true, residual: true },
  { rows: [3, 65], inWidth: 33, outWidth: 130, bias: true, activation: "gelu_tanh" },
  { rows: [4, 1, 17], inWidth: 256, outWidth: 64, residual: true },
  { rows: [5, 1], inWidth: 3, outWidth: 17, bias: true, activation: "gelu_erf", residual: true },
  { rows: [70, 6, 1], inWidth: 131, outWidth: 67, bias: true, activation: "gelu_erf" },
  { rows: [64, 8], inWidth: 64, outWidth: 64, bias: true },
  { rows: [63, 1, 2], inWidth: 515, outWidth: 130, bias: true, activation: "gelu_tanh", residual: true },
  { rows: [3], inWidth: 40, outWidth: 50, samples: true },
  { rows: [1, 7], inWidth: 515, outWidth: 140, bias: true, residual: true, maxBindingBytes: 40_000 },
  { rows: [10, 2], inWidth: 130, outWidth: 200, activation: "gelu_tanh", maxBindingBytes: 10_000 },
  { rows: [65, 4], inWidth: 130, outWidth: 202, bias: true, residual: true, maxBindingBytes: 60_000 },
];

/** That matrix units divide in other ways: elsewhere each is a product as any other. */
const MATRIX_SHAPES: readonly LinearShape[] = [
  { rows: [17], inWidth: 96, outWidth: 45, bias: true, residual: true },
  { rows: [65], inWidth: 48, outWidth: 258, residual: true },
  { rows: [200], inWidth: 16, outWidth: 33, bias: true, activation: "gelu_erf" },
  // So many outputs that matrix units take them in larger tiles.
  { rows: [200], inWidth: 40, outWidth: 640, bias: true },
  { rows: [330], inWidth: 24, outWidth: 1090, bias: true },
  { rows: [640], inWidth: 40, outWidth: 1282, residual: true },
  // Whole fragments of the weight, of all heights and widths.
  { rows: [5], inWidth: 32, outWidth: 16, bias: true, samples: true },
  { rows: [16], inWidth: 515, outWidth: 64, bias: true, activation: "gelu_tanh" },
  { rows: [17], inWidth: 131, outWidth: 48, residual: true },
  { rows: [16, 32], inWidth: 250, outWidth: 40, bias: true },
  { rows: [9, 1], inWidth: 40, outWidth: 16_384, bias: true },
  { rows: [33], inWidth: 32, outWidth: 8192, bias: true, residual: true },
];

/** Pre-activations of some hundreds either side: where tanh overflows on some drivers. */
const STEEP_SHAPES: readonly LinearShape[] = (["gelu_tanh", "gelu_erf"] as const).map((activation) => (
  { rows: [9], inWidth: 33, outWidth: 40, bias: true, activation, deviation: 30 }
));

interface TableShape {
  readonly rows: number;
  readonly width: number;
  readonly table: TensorDtype;
  readonly positionTable?: TensorDtype;
  readonly maxBindingBytes?: number;
}

const TABLE_SHAPES: readonly TableShape[] = [
  { rows: 1, width: 1, table: "F32" },
  { rows: 7, width: 33, table: "F16", positionTable: "F32" },
  { rows: 70, width: 17, table: "I8", positionTable: "F16" },
  { rows: 4, width: 515, table: "BF16", positionTable: "BF16" },
  { rows: 30, width: 64, table: "I8", positionTable: "F32", maxBindingBytes: 8_000 },
];

const NORMED_CASES: readonly DenseCase[] = [
  normedLinearCase("F32", 33, 0, [1, 2]),
  normedLinearCase("F16", 516, 3, [1, 2, 8, 9], { rms: true }),
  normedLinearCase("I4", 96, 0, [1, 5], { rms: true }),
  normedLinearCase("F16", 512, 0, [1, 8, 9]),
  normedLinearCase("I8", 33, 0, [1, 4]),
  normedLinearCase("I4", 33, 0, [1, 4]),
  normedLinearCase("I4", 515, 0, [1, 2, 8, 9]),
  // Too wide to be normalised on the way.
  normedLinearCase("I4", 2080, 0, [1, 3]),
  normedLinearCase("I8", 2080, 0, [1]),
  normedLinearCase("F16", 2064, 0, [1]),
  normedLinearCase("F32", 515, 1000, [1]),
];
const CHAIN_CASES: readonly DenseCase[] = (["F32", "I8", "I4"] as const).map(chainCase);
const OTHER_CASES: readonly DenseCase[] = [
  // More columns than go through workgroup memory at once, not whole slices of them; and more rows than workgroups.
  linearCase("I4", { rows: [1], inWidth: 26_660, outWidth: 33, bias: true }),
  linearCase("I4", { rows: [1], inWidth: 96, outWidth: 50_001, residual: true }),
  linearCase("I8", { rows: [1], inWidth: 13_330, outWidth: 33, residual: true }),
  wholeNumbersCase("I4", "I4", 4096),
  wholeNumbersCase("I4", "I4", 8320),
  wholeNumbersCase("I8", "I8", 4096),
  wholeNumbersCase("I4", "I8", 4096),
  wholeNumbersCase("I8", "I4", 4096),
  ...STEEP_SHAPES.map((shape) => linearCase("F32", shape)),
  // The last is wide enough for more threads.
  ...[1, 3, 17, 33, 515, 2051].map((width) => layerNormCase(width, 0)),
  layerNormCase(515, 1000),
  layerNormCase(64, -30_000),
  ...[1, 3, 17, 515].map((width) => rmsNormCase(width, 0)),
  rmsNormCase(65, 1000),
  ...[[1, 1, 0], [33, 70, 2], [64, 128, 64], [515, 1030, 0]].map(([width, all, first]) =>
    gatedCase(width, all, first)
  ),
  ...TABLE_SHAPES.map(embeddingCase),
  gatherRowsCase(33),
];

export const DENSE_CASES: readonly DenseCase[] = [
  ...STORAGES.flatMap((storage) => LINEAR_SHAPES.map((shape) => linearCase(storage, shape))),
  ...(EVERY_CASE ? STORAGES : ["F16"] as const).flatMap((storage) =>
    MATRIX_SHAPES.map((shape) => linearCase(storage, shape))
  ),
  ...NORMED_CASES,
  ...CHAIN_CASES,
  ...OTHER_CASES,
];

/**
 * What matrix units may read: all shapes in f16, and of those in int8 and int4, which differ in how the weight comes to
 * the tile, enough for every form; and single rows in int4, which need subgroups as large as only that software has.
 * Software compiles a product in some seconds.
 */
export const MATRIX_CASES: readonly DenseCase[] = [
  ...DENSE_CASES.filter(({ name }) =>
    /^linear (F16 |I[48] 1x)|^two linears in I[48] and I[48], 4096|^layerNorm of (512|515|2080), linears in|head in I8$/
      .test(name)
  ),
  ...(["I8", "I4"] as const).flatMap((storage) =>
    [...LINEAR_SHAPES, ...MATRIX_SHAPES]
      .filter(({ rows: [rows] }) => rows === 16 || rows === 70 || rows >= 100)
      .map((shape) => linearCase(storage, shape))
  ),
];

/** Of these for software: of what differs in its storage alone, or in the width of its norm, one. */
export function drawMatrixCases(random: Random): readonly DenseCase[] {
  if (EVERY_CASE) return MATRIX_CASES;
  const alike = Map.groupBy(
    MATRIX_CASES,
    ({ name }) => name.replace(/^linear \w+/, "linear").replace(/(512|515), linears in \w+/, "some, linears"),
  );
  return [...alike.values()].flatMap((cases) => random.choose(cases, 1));
}

/**
 * For a GPU in software, which compiles a form in a third of a second: each shape in a storage, drawn, some of what is
 * alike, drawn, and all else.
 */
export function drawDenseCases(random: Random): readonly DenseCase[] {
  if (EVERY_CASE) return DENSE_CASES;
  return [
    ...LINEAR_SHAPES.map((shape) => linearCase(random.choose(STORAGES, 1)[0], shape)),
    ...random.choose(MATRIX_SHAPES, 4).map((shape) => linearCase("F16", shape)),
    ...random.choose(NORMED_CASES, 4),
    ...random.choose(CHAIN_CASES, 2),
    ...OTHER_CASES,
  ];
}

/** What one row may be multiplied by in whole numbers. */
function isWhole(storage: TensorDtype): boolean {
  return storage === "I4" || storage === "I8";
}

function linearCase(storage: TensorDtype, shape: LinearShape): DenseCase {
  const { rows, inWidth, outWidth, bias, activation, residual, samples, deviation, maxBindingBytes } = shape;
  const parts = [bias && "bias", activation, residual && "residual", samples && "samples"].filter(Boolean);
  return {
    name: `linear ${storage} ${[rows, inWidth, outWidth].join("x")} ${parts.join(" ")}${
      deviation ? ` weights of ${deviation}` : ""
    }${maxBindingBytes ? " sharded" : ""}`,
    tolerance: F32_TOLERANCE,
    ...(isWhole(storage) && rows.includes(1) && { fixedPointTolerance: FIXED_POINT_TOLERANCE }),
    ...(maxBindingBytes && { maxBindingBytes }),
    build: (random) => {
      const source = new MemorySource(), graph = new GraphBuilder();
      const weights = random.normals(outWidth * inWidth, 0, deviation ?? 1 / Math.sqrt(inWidth));
      const weight = source.add("weight", [outWidth, inWidth], weights, storage);
      const x = graph.input("x", inWidth);
      const output = graph.linear(samples ? graph.gatherRows(x) : x, weight, {
        ...(bias && { bias: source.add("bias", [outWidth], random.normals(outWidth)) }),
        ...(activation && { activation }),
        ...(residual && { residual: graph.input("residual", outWidth) }),
      });
      return withHalves(within(maxBindingBytes, problem(random, graph, output, source, rows)));
    },
  };
}

function layerNormCase(width: number, mean: number): DenseCase {
  return {
    name: `layerNorm of ${width}${mean ? ` about ${mean}` : ""}`,
    tolerance: F32_TOLERANCE,
    build: (random) => {
      const source = new MemorySource(), graph = new GraphBuilder();
      const scale = source.add("scale", [width], random.normals(width, 1, 0.3));
      const bias = source.add("bias", [width], random.normals(width));
      const output = graph.layerNorm(graph.input("x", width), scale, bias, 1e-5);
      return problem(random, graph, output, source, [5], mean);
    },
  };
}

function rmsNormCase(width: number, mean: number): DenseCase {
  return {
    name: `rmsNorm of ${width}${mean ? ` about ${mean}` : ""}`,
    tolerance: F32_TOLERANCE,
    build: (random) => {
      const source = new MemorySource(), graph = new GraphBuilder();
      const scale = source.add("scale", [width], random.normals(width, 1, 0.3));
      return problem(
        random,
        graph,
        graph.rmsNorm(graph.input("x", width), scale, 1e-5),
        source,
        [5, 70],
        mean,
      );
    },
  };
}

/** The first columns of a value by others of it; gates of up to some hundred. */
function gatedCase(width: number, all: number, first: number): DenseCase {
  return {
    name: `gated ${width} of ${all}`,
    tolerance: F32_TOLERANCE,
    build: (random) => {
      const graph = new GraphBuilder(), x = graph.input("x", all);
      const output = graph.gated(columnsOf(x, 0, width), columnsOf(x, first, width));
      const built = problem(random, graph, output, new MemorySource(), [1, 9, 66]);
      for (const { inputs } of built.steps) {
        for (const values of Object.values(inputs)) {
          values.forEach((value, i) => values[i] = value * (i % 9 === 4 ? 60 : 1));
        }
      }
      return built;
    },
  };
}

/** A norm that two linears read: a step of one row leaves it to them. */
function normedLinearCase(
  storage: TensorDtype,
  width: number,
  mean: number,
  rows: readonly number[],
  { rms = false } = {},
): DenseCase {
  return {
    name: `${rms ? "rmsNorm" : "layerNorm"} of ${width}${
      mean ? ` about ${mean}` : ""
    }, linears in ${storage}`,
    tolerance: F32_TOLERANCE,
    halvesTolerance: HALVES_TOLERANCE,
    ...(isWhole(storage) && { fixedPointTolerance: 3 * FIXED_POINT_TOLERANCE }),
    build: (random) => {
      const source = new MemorySource(), graph = new GraphBuilder();
      const outWidth = 37;
      const scale = source.add("scale", [width], random.normals(width, 1, 0.3));
      const shift = source.add("shift", [width], random.normals(width));
      const matrix = (name: string) =>
        source.add(
          name,
          [outWidth, width],
          random.normals(outWidth * width, 0, 1 / Math.sqrt(width)),
          storage,
        );
      const x = graph.input("x", width);
      const normed = rms ? graph.rmsNorm(x, scale, 1e-5) : graph.layerNorm(x, scale, shift, 1e-5);
      const left = graph.linear(normed, matrix("left"), {
        bias: source.add("bias", [outWidth], random.normals(outWidth)),
        activation: "gelu_tanh",
      });
      const right = graph.linear(normed, matrix("right"));
      const output = graph.linear(
        left,
        source.add("last", [outWidth, outWidth], random.normals(outWidth ** 2)),
        {
          residual: right,
        },
      );
      return problem(random, graph, output, source, rows, mean);
    },
  };
}

function embeddingCase({ rows, width, table, positionTable, maxBindingBytes }: TableShape): DenseCase {
  return {
    name: `embedding ${rows}x${width} ${table} positions ${positionTable ?? "none"}${
      maxBindingBytes ? " sharded" : ""
    }`,
    tolerance: F32_TOLERANCE,
    ...(maxBindingBytes && { maxBindingBytes }),
    build: (random) => {
      const source = new MemorySource(), graph = new GraphBuilder();
      const output = graph.embedding(
        source.add("table", [VOCAB_SIZE, width], random.normals(VOCAB_SIZE * width), table),
        positionTable &&
          source.add(
            "positions",
            [MAX_POSITIONS, width],
            random.normals(MAX_POSITIONS * width),
            positionTable,
          ),
      );
      return within(maxBindingBytes, problem(random, graph, output, source, [rows]));
    },
  };
}

function gatherRowsCase(width: number): DenseCase {
  return {
    name: `gatherRows of ${width}`,
    tolerance: 0,
    build: (random) => {
      const graph = new GraphBuilder();
      const output = graph.gatherRows(graph.input("x", width));
      return problem(random, graph, output, new MemorySource(), [9, 1, 4]);
    },
  };
}

/** All dense ops in a row, at odd widths, over steps that leave stale rows behind in every buffer. */
function chainCase(storage: TensorDtype): DenseCase {
  return {
    name: `embedding, layerNorm, two linears, gatherRows, head in ${storage}`,
    tolerance: 2 * F32_TOLERANCE,
    halvesTolerance: HALVES_TOLERANCE,
    ...(isWhole(storage) && { fixedPointTolerance: 3 * FIXED_POINT_TOLERANCE }),
    build: (random) => {
      const width = 37, inner = 91;
      const source = new MemorySource(), graph = new GraphBuilder();
      const matrix = (name: string, rows: number, columns: number) =>
        source.add(name, [rows, columns], random.normals(rows * columns, 0, 0.3), storage);
      const vector = (name: string, length: number) => source.add(name, [length], random.normals(length));
      const table = matrix("table", VOCAB_SIZE, width);
      const x = graph.embedding(table, matrix("positions", MAX_POSITIONS, width));
      const normed = graph.layerNorm(x, vector("scale", width), vector("shift", width), 1e-5);
      const hidden = graph.linear(normed, matrix("up", inner, width), {
        bias: vector("up_bias", inner),
        activation: "gelu_tanh",
      });
      const y = graph.linear(hidden, matrix("down", width, inner), { residual: x });
      const output = graph.linear(graph.gatherRows(y), table);
      return problem(random, graph, output, source, [21, 1, 4, 70]);
    },
  };
}

/** A linear as wide as those that leave their output as whole numbers, and its reader. */
function wholeNumbersCase(storage: "I4" | "I8", readAs: "I4" | "I8", inner: number): DenseCase {
  const width = 40, outWidth = 33, silent = 64;
  return {
    name: `two linears in ${storage} and ${readAs}, ${inner} columns between`,
    tolerance: 2 * F32_TOLERANCE,
    halvesTolerance: HALVES_TOLERANCE,
    fixedPointTolerance: 3 * FIXED_POINT_TOLERANCE,
    build: (random) => {
      const source = new MemorySource(), graph = new GraphBuilder();
      const up = random.normals(inner * width, 0, 0.3);
      // A whole group of nothing.
      up.fill(0, silent * width, (silent + 32) * width);
      const hidden = graph.linear(graph.input("x", width), source.add("up", [inner, width], up, storage), {
        activation: "gelu_tanh",
      });
      const down = random.normals(outWidth * inner, 0, inner ** -0.5);
      const output = graph.linear(hidden, source.add("down", [outWidth, inner], down, readAs), {
        residual: graph.input("residual", outWidth),
      });
      return problem(random, graph, output, source, [1, 3, 1]);
    },
  };
}
