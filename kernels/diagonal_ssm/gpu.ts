// Lowers diagonal state-space models. Every form goes through a sequence's tokens in their order and keeps the state of a
// mode in a register. The safe profile scans each sequence at once. The fast one cuts sequences in chunks that run side by
// side, each twice: once for the state that it ends with, and, when it is known what it begins with, for its outputs; and
// has a form for steps of single tokens.
import { controlConstants } from "../control.ts";
import { type GpuContext, type KernelCall, rowStride, type Work } from "../gpu_op.ts";
import type { DiagonalSsmNode } from "../graph.ts";
import complexCode from "../complex.wgsl" with { type: "text" };
import { type Operands, readOperands } from "../operands.ts";
import type { StepBatch } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import combineCode from "./combine.wgsl" with { type: "text" };
import endsCode from "./ends.wgsl" with { type: "text" };
import scanCode from "./scan.wgsl" with { type: "text" };
import stepCode from "./step.wgsl" with { type: "text" };

const THREADS = 256;
/** Tokens whose contributions are summed at once: what fits 16 KiB of workgroup memory for all teams. */
const TILE = 8;
const SMALLEST_TEAM = 4, LARGEST_TEAM = 64;
/** Tokens of a chunk: a GPU of some hundred cores is then full from one sequence of a few thousand tokens. */
const CHUNK = 512;
/** A chunk that no sequence outgrows. */
const ENDLESS = 0x7fffffff;

/** @throws {RangeError} when a channel has more modes than a team has threads */
export function lowerDiagonalSsm(node: DiagonalSsmNode, context: GpuContext): KernelCall[] {
  if (node.modes > LARGEST_TEAM) {
    throw new RangeError(
      `Cannot lower graph: a diagonal SSM must have at most ${LARGEST_TEAM} modes, received ${node.modes}`,
    );
  }
  if (context.profile === "safe") return [scanCall(node, context, ENDLESS)];
  const chunkBytes = 8 * node.input.width * node.modes;
  const numChunks = 2 * Math.ceil(context.layout.limits.maxTokens / CHUNK) + 2;
  const chunkStates = context.scratch("diagonal SSM chunks", numChunks * chunkBytes);
  const scan = scanCall(node, context, CHUNK, chunkStates);
  return [
    endsCall(node, context, chunkStates),
    combineCall(node, context, chunkStates),
    { ...scan, grid: (shape) => shape.maxQueryLength > 1 ? scan.grid(shape) : undefined },
    stepCall(node, context),
  ];
}

/**
 * WGSL: the first chunk state of a sequence of several chunks. One of n > 1 chunks has n - 1 whole ones, and 2 (n - 1) is
 * at least n: so where each begins at twice the whole chunks before its first row, none reaches into the next one's.
 */
const FIRST_CHUNK = "fn firstChunk(sequenceRow: u32) -> u32 { return 2u * (sequenceRow / CHUNK); }";

/** WGSL: the states with which chunks of a sequence begin. */
const CHUNK_STATES =
  `${FIRST_CHUNK}\n@group(0) @binding(4) var<storage, read> chunkStates: array<vec2<f32>>;\n`;

/** WGSL: the first record of a state that is kept after `firstRow` or a later row, and the row after which one is. */
const KEPT_ROWS = `fn keptRow(kept: u32) -> u32 {
  if (kept >= control[NUM_KEPT_STATES]) { return 0xffffffffu; }
  return control[KEPT_STATES + kept * KEPT_STATE_WORDS];
}
fn firstKept(firstRow: u32) -> u32 {
  var kept = 0u;
  while (keptRow(kept) < firstRow) { kept++; }
  return kept;
}`;

/** WGSL that keeps the state after token `i` of a tile, where it is wanted. */
function keepCode(i: number): string {
  return `
  if (token + ${i}u == keptToken) {
    let slot = control[KEPT_STATES + kept * KEPT_STATE_WORDS + 1u];
    if (present) { states[slot * WIDTH * MODES + mode] = s; }
    kept++;
    keptToken = keptRow(kept) - firstRow;
  }`;
}

function constantsOf(node: DiagonalSsmNode, context: GpuContext, chunk: number): Record<string, number> {
  const team = Math.max(SMALLEST_TEAM, 2 ** Math.ceil(Math.log2(node.modes)));
  return {
    ...controlConstants(context.layout),
    THREADS,
    TEAM: team,
    CHANNELS: THREADS / team,
    TILE,
    CHUNK: chunk,
    WIDTH: node.input.width,
    MODES: node.modes,
  };
}

/** f32 [width][modes] of [pole, residue], complex: together, since a kernel may bind eight buffers only. */
function modesOf({ poles, residues }: DiagonalSsmNode, context: GpuContext): GPUBuffer {
  return context.table(`${poles.name} and ${residues.name}`, () => {
    const pole = context.filter(poles), residue = context.filter(residues);
    return Float32Array.from(
      { length: 2 * pole.length },
      (_, at) => (at % 4 < 2 ? pole : residue)[2 * (at >> 2) + at % 2],
    );
  });
}

/** Input, gate and skip, with what a kernel does with them. */
function operandsOf(node: DiagonalSsmNode, context: GpuContext, firstBinding: number) {
  const operands = readOperands({ x: node.input, gate: node.gate }, context, firstBinding);
  if (!node.skip) return operands;
  const binding = firstBinding + operands.bindings.length;
  return {
    ...operands,
    code: `${operands.code}\n@group(0) @binding(${binding}) var<storage, read> skip: array<f32>;`,
    bindings: [...operands.bindings, { buffer: context.vector(node.skip), access: "read" as const }],
  };
}

/** WGSL that stores an output: `sum` are the modes, `input` is the token's. */
function storeCode(node: DiagonalSsmNode, row: string, channel: string, input: string): string {
  const sum = node.skip ? `(sum + skip[${channel}] * ${input})` : "sum";
  const value = node.gate ? `gate(${row}, ${channel}) * ${sum}` : sum;
  return `y[(${row}) * ${rowStride(node.output.width)}u + ${channel}] = ${value};`;
}

function scanCall(
  node: DiagonalSsmNode,
  context: GpuContext,
  chunk: number,
  chunkStates?: GPUBuffer,
): KernelCall {
  const operands = operandsOf(node, context, chunkStates ? 5 : 4);
  const constants = constantsOf(node, context, chunk), { CHANNELS, WIDTH } = constants;
  return {
    label: `diagonalSsm ${node.poles.name}, scan`,
    code: specialise(scanCode, constants, {
      operands: [
        complexCode,
        keepsStates(context) ? KEPT_ROWS : "",
        chunkStates ? CHUNK_STATES : "",
        operands.code,
      ].join("\n"),
      ...scanSnippets(node, constants, {
        inChunks: chunkStates !== undefined,
        keepsStates: keepsStates(context),
      }),
    }),
    bindings: [
      ...stateBindings(node, context),
      ...(chunkStates ? [{ buffer: chunkStates, access: "read" as const }] : []),
      ...operands.bindings,
    ],
    work: workOf(node, operands),
    grid: ({ numSequences, maxQueryLength }) =>
      numSequences > 0
        ? [Math.ceil(WIDTH / CHANNELS), Math.ceil(maxQueryLength / chunk), numSequences]
        : undefined,
  };
}

/** What the scan's steps are for these shapes. */
function scanSnippets(
  node: DiagonalSsmNode,
  { CHANNELS, TEAM, WIDTH }: Record<string, number>,
  { inChunks, keepsStates }: { inChunks: boolean; keepsStates: boolean },
): Record<string, string> {
  const turns = Math.ceil(TILE * CHANNELS / THREADS);
  const input = (i: number, token: string) =>
    `inputOf(thread + ${i * THREADS}u, ${token}, numTokens, firstRow, firstChannel)`;
  return {
    chunkState: inChunks
      ? "s = chunkStates[(firstChunk(sequenceRow) + group.y) * WIDTH * MODES + mode];"
      : "",
    firstInputs: unroll(turns, (i) => `var next${i} = ${input(i, "0u")};`),
    shareInputs: unroll(
      turns,
      (i) => `if (thread + ${i * THREADS}u < OUTPUTS) { inputs[thread + ${i * THREADS}u] = next${i}; }`,
    ),
    nextInputs: unroll(turns, (i) => `next${i} = ${input(i, "token + TILE")};`),
    firstKept: keepsStates
      ? "var kept = firstKept(firstRow);\nvar keptToken = keptRow(kept) - firstRow;"
      : "",
    advance: unroll(TILE, (i) =>
      `if (token + ${i}u < numTokens) {
  s = times(pole, s) + vec2<f32>(inputs[${i * CHANNELS}u + team], 0.0);${keepsStates ? keepCode(i) : ""}
}
contributions[(${i * CHANNELS}u + team) * ${TEAM + 1}u + lane] = times(residue, s).x;`),
    outputs: unroll(turns, (i) =>
      `{ let output = thread + ${i * THREADS}u;
let own = token + output / CHANNELS;
let ownChannel = firstChannel + output % CHANNELS;
if (output < OUTPUTS && own < numTokens && ownChannel < ${WIDTH}u) {
  let first = output * ${TEAM + 1}u;
  var sum = contributions[first];
${unroll(node.modes - 1, (n) => `  sum += contributions[first + ${n + 1}u];`)}
  ${storeCode(node, "firstRow + own", "ownChannel", "inputs[output]")}
} }`),
  };
}

/** Whether a step keeps states within rows, for which a scan looks out. */
function keepsStates({ layout }: GpuContext): boolean {
  return (layout.limits.maxKeptStates ?? 0) > 0;
}

function stateBindings(node: DiagonalSsmNode, context: GpuContext): KernelCall["bindings"] {
  return [
    { buffer: context.control, access: "read" },
    { buffer: context.activation(node.output), access: "readWrite" },
    { buffer: context.recurrentState(node.state), access: "readWrite" },
    { buffer: modesOf(node, context), access: "read" },
  ];
}

/** States are read and written once for each sequence; a mode takes six multiplications with additions a token. */
function workOf({ input, modes, output }: DiagonalSsmNode, { rowBytes }: Operands) {
  const states = 8 * input.width * modes;
  return ({ tokenIds, contextLengths }: StepBatch): Work => ({
    bytes: tokenIds.length * (rowBytes + 4 * output.width) + 2 * states * (contextLengths.length + 1),
    flop: 12 * tokenIds.length * input.width * modes,
    units: "f32",
  });
}

function endsCall(node: DiagonalSsmNode, context: GpuContext, chunkStates: GPUBuffer): KernelCall {
  const operands = readOperands({ x: node.input }, context, 3);
  const constants = constantsOf(node, context, CHUNK), { width } = node.input;
  return {
    label: `diagonalSsm ${node.poles.name}, chunks' ends`,
    code: specialise(endsCode, constants, {
      operands: `${complexCode}\n${FIRST_CHUNK}\n${operands.code}`,
      advance: unroll(
        8,
        (i) => `s = times(pole, s) + vec2<f32>(x(firstRow + token + ${i}u, channel), 0.0);`,
      ),
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: chunkStates, access: "readWrite" },
      { buffer: modesOf(node, context), access: "read" },
      ...operands.bindings,
    ],
    work: ({ tokenIds }) => ({
      bytes: 4 * tokenIds.length * width,
      flop: 8 * tokenIds.length * width * node.modes,
      units: "f32",
    }),
    grid: ({ numSequences, maxQueryLength }) =>
      maxQueryLength > CHUNK
        ? [Math.ceil(width / constants.CHANNELS), Math.ceil(maxQueryLength / CHUNK) - 1, numSequences]
        : undefined,
  };
}

function combineCall(node: DiagonalSsmNode, context: GpuContext, chunkStates: GPUBuffer): KernelCall {
  const numModes = node.input.width * node.modes;
  return {
    label: `diagonalSsm ${node.poles.name}, chunks' beginnings`,
    code: specialise(combineCode, constantsOf(node, context, CHUNK), {
      declarations: `${complexCode}\n${FIRST_CHUNK}`,
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: chunkStates, access: "readWrite" },
      { buffer: modesOf(node, context), access: "read" },
      { buffer: context.recurrentState(node.state), access: "read" },
    ],
    work: ({ tokenIds }) => ({
      bytes: 16 * numModes * Math.ceil(tokenIds.length / CHUNK),
      flop: 8 * numModes * CHUNK,
      units: "f32",
    }),
    grid: ({ numSequences, maxQueryLength }) =>
      maxQueryLength > CHUNK ? [Math.ceil(numModes / 64), numSequences, 1] : undefined,
  };
}

function stepCall(node: DiagonalSsmNode, context: GpuContext): KernelCall {
  const operands = operandsOf(node, context, 4);
  const constants = constantsOf(node, context, CHUNK), { TEAM, CHANNELS } = constants;
  return {
    label: `diagonalSsm ${node.poles.name}, single tokens`,
    code: specialise(stepCode, constants, {
      operands: `${complexCode}\n${operands.code}`,
      tree: unroll(Math.log2(TEAM), (i) =>
        `workgroupBarrier();
if (lane < ${TEAM >> (i + 1)}u) { contributions[thread] += contributions[thread + ${TEAM >> (i + 1)}u]; }`),
      store: storeCode(node, "row", "channel", "x(row, channel)"),
    }),
    bindings: [...stateBindings(node, context), ...operands.bindings],
    work: workOf(node, operands),
    grid: ({ numSequences, maxQueryLength }) =>
      maxQueryLength === 1 ? [Math.ceil(node.input.width / CHANNELS), numSequences, 1] : undefined,
  };
}
