// Lowers short causal convolutions: one dispatch that computes a step's rows by tiles, and one that keeps the last inputs;
// before it another where inputs are to be kept as they were within the rows.
// In the fast profile steps of single tokens do both in one, since there a thread reads what it then overwrites.
import { controlConstants } from "../control.ts";
import { type GpuContext, type KernelCall, rowStride, type Work } from "../gpu_op.ts";
import type { ShortConvolutionNode } from "../graph.ts";
import { readOperands } from "../operands.ts";
import { specialise, unroll } from "../wgsl.ts";
import keepCode from "./keep.wgsl" with { type: "text" };
import keepWithinCode from "./keep_within.wgsl" with { type: "text" };
import rowsCode from "./rows.wgsl" with { type: "text" };

/** Lags that a turn of the loop over them takes; filters of no more are written out without a loop. */
const LAGS_PER_TURN = 8;

export function lowerShortConvolution(node: ShortConvolutionNode, context: GpuContext): KernelCall[] {
  const calls = [
    rowsCall(node, context, context.layout.tileTokens, false),
    ...((context.layout.limits.maxKeptStates ?? 0) > 0 ? [keepWithinCall(node, context)] : []),
    keepCall(node, context),
  ];
  if (context.profile === "safe") return calls;
  const decodes = rowsCall(node, context, 1, true);
  return [
    ...calls.map((call): KernelCall => ({
      ...call,
      grid: (shape) => shape.maxQueryLength > 1 ? call.grid(shape) : undefined,
    })),
    { ...decodes, grid: (shape) => shape.maxQueryLength === 1 ? decodes.grid(shape) : undefined },
  ];
}

/** @param keeps whether a thread keeps its one input for the next step */
function rowsCall(node: ShortConvolutionNode, context: GpuContext, tile: number, keeps: boolean): KernelCall {
  const { width } = node.input, [numTaps] = node.filter.shape;
  const operands = readOperands({ x: node.input, gate: node.gate }, context, 4);
  const biasBinding = 4 + operands.bindings.length;
  const bias = node.bias ? `\n@group(0) @binding(${biasBinding}) var<storage, read> bias: array<f32>;` : "";
  const constants = {
    ...controlConstants(context.layout),
    TAPS: numTaps,
    WIDTH: width,
  };
  const stored = (i: number) => {
    const sum = node.bias ? `(sum${i} + bias[channel])` : `sum${i}`;
    return `if (${i}u < numRows) { y[(row + ${i}u) * ${rowStride(width)}u + channel] = ${
      node.gate ? `gate(row + ${i}u, channel) * ${sum}` : sum
    }; }`;
  };
  const kept = "states[state + position % RING * WIDTH + channel] = x(row, channel);";
  return {
    label: `shortConvolution ${node.filter.name}${keeps ? " of single tokens" : ""}`,
    code: specialise(rowsCode, constants, {
      states: `@group(0) @binding(3) var<storage, ${keeps ? "read_write" : "read"}> states: array<f32>;`,
      operands: operands.code + bias,
      window: windowCode(tile),
      sums: sumsCode(numTaps, tile),
      store: `${unroll(tile, stored)}${keeps ? `\n${kept}` : ""}`,
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.output), access: "readWrite" },
      { buffer: context.vector(node.filter), access: "read" },
      { buffer: context.recurrentState(node.state), access: keeps ? "readWrite" : "read" },
      ...operands.bindings,
      ...(node.bias ? [{ buffer: context.vector(node.bias), access: "read" as const }] : []),
    ],
    work: ({ tokenIds, contextLengths }): Work => ({
      bytes: tokenIds.length * (operands.rowBytes + 4 * width) +
        4 * width * (numTaps + contextLengths.length * (numTaps - 1)),
      flop: 2 * tokenIds.length * width * numTaps,
      units: "f32",
    }),
    grid: ({ numTiles }) => numTiles > 0 ? [Math.ceil(width / 64), numTiles, 1] : undefined,
  };
}

/** The tile's own inputs; beyond its rows the last one again, for sums that are not stored. */
function windowCode(tile: number): string {
  return unroll(tile, (i) => `var sum${i} = 0.0; var x${i} = x(row + min(${i}u, numRows - 1u), channel);`);
}

/** All lags: the input that row i needs at a lag is the one that row i - 1 had at the lag before. */
function sumsCode(numTaps: number, tile: number): string {
  const lags = Math.min(numTaps, LAGS_PER_TURN);
  const lines = (lag: string, first: boolean) =>
    [
      `{ let tap = taps[(${lag}) * WIDTH + channel];`,
      first ? "" : [
        ...Array.from({ length: tile - 1 }, (_, i) => `x${tile - 1 - i} = x${tile - 2 - i};`),
        `x0 = inputAt(position - (${lag}), firstPosition, firstRow, state, channel);`,
      ].join("\n"),
      unroll(tile, (i) => `sum${i} += tap * x${i};`),
      "}",
    ].join("\n");
  const head = unroll(lags, (lag) => lines(`${lag}u`, lag === 0));
  const whole = Math.floor((numTaps - lags) / LAGS_PER_TURN) * LAGS_PER_TURN;
  const loop = whole > 0
    ? `for (var lag = ${lags}u; lag < ${lags + whole}u; lag += ${LAGS_PER_TURN}u) {
${unroll(LAGS_PER_TURN, (i) => lines(`lag + ${i}u`, false))}
}`
    : "";
  const rest = unroll(numTaps - lags - whole, (i) => lines(`${lags + whole + i}u`, false));
  return [head, loop, rest].join("\n");
}

function keepWithinCall(node: ShortConvolutionNode, context: GpuContext): KernelCall {
  const { width } = node.input, kept = node.filter.shape[0] - 1;
  return {
    ...keptInputs(node, context, "keep within", keepWithinCode),
    work: ({ keptStates = [] }): Work => ({
      bytes: 8 * width * kept * keptStates.length,
      flop: 0,
      units: "f32",
    }),
    grid: ({ numKeptStates }) => numKeptStates > 0 ? [Math.ceil(width / 64), kept, numKeptStates] : undefined,
  };
}

function keepCall(node: ShortConvolutionNode, context: GpuContext): KernelCall {
  const { width } = node.input, kept = node.filter.shape[0] - 1;
  return {
    ...keptInputs(node, context, "keep", keepCode),
    work: ({ queryStart, contextLengths }): Work => ({
      bytes: 8 * width * contextLengths.reduce(
        (sum, _, s) => sum + Math.min(kept, queryStart[s + 1] - queryStart[s]),
        0,
      ),
      flop: 0,
      units: "f32",
    }),
    grid: ({ numSequences }) => numSequences > 0 ? [Math.ceil(width / 64), kept, numSequences] : undefined,
  };
}

function keptInputs(node: ShortConvolutionNode, context: GpuContext, what: string, code: string) {
  const operands = readOperands({ x: node.input }, context, 2);
  const constants = {
    ...controlConstants(context.layout),
    TAPS: node.filter.shape[0],
    WIDTH: node.input.width,
  };
  return {
    label: `shortConvolution ${node.filter.name}, ${what}`,
    code: specialise(code, constants, { operands: operands.code }),
    bindings: [
      { buffer: context.control, access: "read" as const },
      { buffer: context.recurrentState(node.state), access: "readWrite" as const },
      ...operands.bindings,
    ],
  };
}
