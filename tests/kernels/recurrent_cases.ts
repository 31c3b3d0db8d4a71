// The table of cases for ops with recurrent state: sequences of random rows, fed in steps as an engine would. Knows no
// device, so that every backend runs the same table.
import { columnsOf } from "../../kernels/columns.ts";
import type { Graph, Value } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { MemorySource } from "./memory_source.ts";
import type { Random } from "./random.ts";
import { type Schedule, type Scheduled, scheduleSteps } from "./scheduled_steps.ts";

export interface RecurrentProblem extends Scheduled {
  readonly graph: Graph;
  readonly source: MemorySource;
}

export interface RecurrentCase {
  readonly name: string;
  /** Largest error allowed, relative to the largest output. */
  readonly tolerance: number;
  build(random: Random): RecurrentProblem;
}

/** A few rounding errors of f32, on sums of up to 64 products. */
const F32_TOLERANCE = 2e-6;
/** The same where a recurrence carries them on. */
const RECURRENCE_TOLERANCE = 1e-5;

/** Prompts in one and in several chunks beside decodes, then decodes alone, then chunks again; two start late. */
const MIXED: Schedule = [
  [70, 1, 2, 17, 0, 40],
  [1, 1, 33, 1, 5, 1],
  [1, 1, 1, 1, 1, 1],
  [1, 0, 1, 1, 1, 1],
  [3, 64, 1, 16, 2, 63],
];

/** A hundred tokens, after a prompt of some, the rest at once; then one more. */
const SPLITS: Schedule = [
  [1, 5, 62, 63, 64, 65, 80],
  [99, 95, 38, 37, 36, 35, 20],
  [1, 1, 1, 1, 1, 1, 1],
];

const SHORT_CASES = [
  shortConvolution(1, 2, [[1], [1], [2], [1]], {}),
  shortConvolution(5, 3, MIXED, { bias: true }),
  shortConvolution(96, 3, MIXED, { bias: true, gate: true }),
  shortConvolution(65, 4, MIXED, { gate: true }),
  shortConvolution(70, 64, MIXED, { gate: true }),
  shortConvolution(33, 21, MIXED, { columns: true, bias: true }),
  shortConvolution(3, 64, [[200, 62], [1, 1], [1, 1], [64, 1]], {}),
];

const SSM_CASES = [
  diagonalSsm(1, 1, [[1], [1], [9], [1]], {}),
  diagonalSsm(5, 2, MIXED, { skip: true, gate: true }),
  diagonalSsm(9, 32, MIXED, { skip: true, gate: true }),
  diagonalSsm(17, 7, MIXED, { columns: true, skip: true }),
  diagonalSsm(3, 64, MIXED, { gate: true }),
  // Several chunks a sequence, also from a state on.
  diagonalSsm(6, 32, [[1025, 512, 513, 3], [1, 1, 1, 1], [600, 1, 2, 1100]], { skip: true }),
];

export const RECURRENT_CASES: readonly RecurrentCase[] = [
  ...SHORT_CASES,
  ...SSM_CASES,
  h3Mixer("mixed steps", MIXED),
  h3Mixer("prompts split anywhere", SPLITS),
  hyenaMixer(),
];

interface Parts {
  readonly bias?: boolean;
  readonly skip?: boolean;
  readonly gate?: boolean;
  /** Input and gate are columns of one value. */
  readonly columns?: boolean;
}

function named(what: string, schedule: Schedule, parts: Parts): string {
  const present = Object.keys(parts).join(" ");
  return `${what}${present && ` ${present}`}, ${schedule[0].length} sequences of ${schedule.length} steps`;
}

function operandsOf(builder: GraphBuilder, width: number, { gate, columns }: Parts) {
  if (!columns) {
    const x = builder.input("x", width);
    return { x, ...(gate && { gate: builder.input("gate", width) }) };
  }
  const all = builder.input("all", 2 * width + 5);
  return { x: columnsOf(all, 3, width), gate: columnsOf(all, width + 5, width) };
}

function shortConvolution(width: number, taps: number, schedule: Schedule, parts: Parts): RecurrentCase {
  return {
    name: named(`short convolution of ${width} channels, ${taps} taps`, schedule, parts),
    tolerance: F32_TOLERANCE,
    build: (random) => {
      const source = new MemorySource(), builder = new GraphBuilder();
      const { x, gate } = operandsOf(builder, width, parts);
      const output = builder.shortConvolution(
        x,
        source.add("filter", [taps, width], random.normals(taps * width)),
        {
          ...(parts.bias && { bias: source.add("bias", [width], random.normals(width)) }),
          ...(gate && { gate }),
        },
      );
      return problem(builder, output, source, schedule, random);
    },
  };
}

function diagonalSsm(width: number, modes: number, schedule: Schedule, parts: Parts): RecurrentCase {
  return {
    name: named(`diagonal SSM of ${width} channels, ${modes} modes`, schedule, parts),
    tolerance: RECURRENCE_TOLERANCE,
    build: (random) => {
      const source = new MemorySource(), builder = new GraphBuilder();
      const { x, gate } = operandsOf(builder, width, parts);
      const output = builder.diagonalSsm(x, {
        ...addModes(source, width, modes, random),
        ...(parts.skip && { skip: source.add("skip", [width], random.normals(width)) }),
      }, { ...(gate && { gate }) });
      return problem(builder, output, source, schedule, random);
    },
  };
}

/** Poles that forget within 2 to 2000 tokens, at any angle. */
function addModes(source: MemorySource, width: number, modes: number, random: Random) {
  const poles = new Float32Array(2 * width * modes);
  for (let at = 0; at < poles.length; at += 2) {
    const size = Math.exp(-1 / (2 * 1000 ** random.uniform())), angle = 2 * Math.PI * random.uniform();
    poles[at] = size * Math.cos(angle);
    poles[at + 1] = size * Math.sin(angle);
  }
  const shape = [width, 2 * modes];
  const residues = random.normals(poles.length, 0, 1 / Math.sqrt(modes));
  return { poles: source.add("poles", shape, poles), residues: source.add("residues", shape, residues) };
}

/** One product for q, k and v, the shift SSM gated by v, the diagonal SSM gated by q, and the product that follows. */
function h3Mixer(what: string, schedule: Schedule): RecurrentCase {
  return {
    name: `H3 mixer of 24 channels, ${what}`,
    tolerance: RECURRENCE_TOLERANCE,
    build: (random) => {
      const width = 24, source = new MemorySource(), builder = new GraphBuilder();
      const qkv = builder.linear(builder.input("x", width), matrix(source, "qkv", 3 * width, width, random), {
        bias: source.add("qkv_bias", [3 * width], random.normals(3 * width)),
      });
      const taps = random.normals(64 * width, 0, 1 / 8);
      const w = builder.shortConvolution(
        columnsOf(qkv, width, width),
        source.add("filter", [64, width], taps),
        { gate: columnsOf(qkv, 2 * width, width) },
      );
      const y = builder.diagonalSsm(w, {
        ...addModes(source, width, 32, random),
        skip: source.add("skip", [width], random.normals(width)),
      }, { gate: columnsOf(qkv, 0, width) });
      const output = builder.linear(y, matrix(source, "out", width, width, random));
      return problem(builder, output, source, schedule, random);
    },
  };
}

/** One product for x0, x1 and v, the short convolution of all, and the long one of v x1, gated by x0. */
function hyenaMixer(): RecurrentCase {
  return {
    name: "Hyena mixer of 40 channels",
    tolerance: F32_TOLERANCE,
    build: (random) => {
      const width = 40, taps = 100, source = new MemorySource(), builder = new GraphBuilder();
      const projected = builder.linear(
        builder.input("x", width),
        matrix(source, "in", 3 * width, width, random),
      );
      const short = builder.shortConvolution(
        projected,
        source.add("short", [3, 3 * width], random.normals(9 * width)),
        { bias: source.add("short_bias", [3 * width], random.normals(3 * width)) },
      );
      const filter = source.add("long", [width, taps], random.normals(width * taps, 0, 0.1));
      const mixed = builder.longConvolution(columnsOf(short, 2 * width, width), filter, {
        before: columnsOf(short, width, width),
        after: columnsOf(short, 0, width),
      });
      const output = builder.linear(mixed, matrix(source, "out", width, width, random));
      return problem(builder, output, source, [[70, 1, 100], [1, 1, 1]], random);
    },
  };
}

function matrix(source: MemorySource, name: string, rows: number, columns: number, random: Random) {
  return source.add(name, [rows, columns], random.normals(rows * columns, 0, 1 / Math.sqrt(columns)));
}

function problem(
  builder: GraphBuilder,
  output: Value,
  source: MemorySource,
  schedule: Schedule,
  random: Random,
): RecurrentProblem {
  const graph = builder.build(output);
  return { graph, source, ...scheduleSteps(graph, schedule, random) };
}
