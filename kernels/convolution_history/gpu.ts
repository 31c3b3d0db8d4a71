// Lowers the history of a long convolution: its inputs are stored in paged blocks, and what earlier ones add to a step's
// rows is summed directly, for tiles of rows. In the fast profile single tokens have forms of their own: in one, steps of
// nothing else spread a history over workgroups, since there would be too few; in the other most of it has been summed
// before (online.ts). The safe profile keeps to tiles, so that a row's sums depend on where its chunk begins and never on
// its batch.
import { controlConstants } from "../control.ts";
import { type Binding, type GpuContext, type KernelCall, onlyFor, rowStride, type Work } from "../gpu_op.ts";
import type { ConvolutionHistoryNode } from "../graph.ts";
import { readOperands } from "../operands.ts";
import { BLOCK_SIZE, type StepBatch } from "../step.ts";
import { specialise } from "../wgsl.ts";
import { movingWork } from "../work.ts";
import addCode from "./add.wgsl" with { type: "text" };
import { historyRowWords, type HistoryType } from "./history_layout.ts";
import { onlineCalls } from "./online.ts";
import storeCode from "./store.wgsl" with { type: "text" };
import { longestContext, reachableTaps, sumCalls } from "./sum_calls.ts";

/** Inputs of a stretch at least, and stretches at most: then even one sequence fills a large GPU. */
const SHORTEST_STRETCH = 256, MOST_STRETCHES = 32;

export function lowerConvolutionHistory(node: ConvolutionHistoryNode, context: GpuContext): KernelCall[] {
  const { layout, profile, online } = context;
  const carried: Sums = {
    buffer: context.activation(node.output),
    rows: 0,
    stride: rowStride(node.input.width),
  };
  const tiles = tileCalls(node, context, carried, {
    tile: layout.tileTokens,
    stretch: longestContext(context),
    ...(online && { skips: "control[QUERY_START + sequence + 1u] - control[QUERY_START + sequence] == 1u" }),
  });
  const store = storeCall(node, context);
  if (profile === "safe") return [store, ...tiles];
  const longer = tiles.map((call) => onlyFor(call, (shape) => shape.maxQueryLength > 1));
  if (online) return [store, ...onlineCalls(node, context, online), ...longer];
  return [
    store,
    ...longer,
    ...decodeCalls(node, context, carried).map((call) =>
      onlyFor(call, (shape) => shape.maxQueryLength === 1)
    ),
  ];
}

/** Where sums go: f32 [stretches][rows][stride]. */
interface Sums {
  readonly buffer: GPUBuffer;
  readonly rows: number;
  readonly stride: number;
}

interface TileForm {
  /** Rows that a thread sums for. */
  readonly tile: number;
  /** Inputs of one workgroup, whole blocks. */
  readonly stretch: number;
  /** WGSL: sequences that are summed another way. */
  readonly skips?: string;
}

function decodeCalls(node: ConvolutionHistoryNode, context: GpuContext, carried: Sums): KernelCall[] {
  const { width } = node.input, { maxSequences } = context.layout.limits, longest = longestContext(context);
  const shortest = Math.ceil(longest / MOST_STRETCHES / BLOCK_SIZE) * BLOCK_SIZE;
  const stretch = Math.max(SHORTEST_STRETCH, shortest), stretches = Math.ceil(longest / stretch);
  if (stretches === 1) return tileCalls(node, context, carried, { tile: 1, stretch });
  const bytes = 4 * stretches * maxSequences * width;
  const sums: Sums = {
    buffer: context.scratch("sums of stretches", bytes),
    rows: maxSequences,
    stride: width,
  };
  return [
    ...tileCalls(node, context, sums, { tile: 1, stretch }),
    addCall(node, context, sums, carried, stretch),
  ];
}

/** All that came before a sequence's first row of the step, in stretches. */
function tileCalls(
  node: ConvolutionHistoryNode,
  context: GpuContext,
  sums: Sums,
  { tile, stretch, skips }: TileForm,
): KernelCall[] {
  const taps = reachableTaps(node, context);
  return sumCalls(node, context, {
    name: tile > 1 ? "tiles" : "single tokens",
    tile,
    sums: sums.buffer,
    constants: { STRETCH: stretch, SUM_ROWS: sums.rows, SUM_STRIDE: sums.stride },
    range: `let record = TILES + group.y * TILE_WORDS;
let sequence = control[record];${skips ? `\nif (${skips}) { return; }` : ""}
let row = control[record + 1u];
let numRows = control[record + 2u];
let past = control[POSITIONS + control[QUERY_START + sequence]];
if (group.z > 0u && group.z * STRETCH >= past) { return; }
let position = control[POSITIONS + row];
// The first row reaches back the farthest.
let oldest = max(group.z * STRETCH, farthest(position));
let end = min(past, (group.z + 1u) * STRETCH);
let firstSum = (group.z * SUM_ROWS + row) * SUM_STRIDE + channel;`,
    take: (r, sum) => `if (${r}u < numRows) { sums[firstSum + ${r * sums.stride}u] = ${sum}; }`,
    work: (batch, channels, rowBytes) => sumWork(batch, taps, channels, rowBytes),
    grid: ({ numTiles, maxContextLength }) =>
      numTiles > 0 ? [numTiles, Math.max(1, Math.ceil(maxContextLength / stretch))] : undefined,
  });
}

function sumWork(batch: StepBatch, taps: number, channels: number, rowBytes: number): Work {
  let inputs = 0, products = 0, most = 0;
  batch.contextLengths.forEach((length, s) => {
    const rows = batch.queryStart[s + 1] - batch.queryStart[s], past = Math.min(taps - 1, length - rows);
    inputs += past;
    products += rows * past;
    most = Math.max(most, past);
  });
  const bytes = inputs * rowBytes + 4 * channels * (most + batch.tokenIds.length);
  return { bytes, flop: 2 * products * channels, units: "f32" };
}

function addCall(
  { filter, input: { width } }: ConvolutionHistoryNode,
  context: GpuContext,
  sums: Sums,
  carried: Sums,
  stretch: number,
): KernelCall {
  return {
    label: `convolutionHistory ${filter.name}, single tokens, add`,
    code: specialise(addCode, {
      ...controlConstants(context.layout),
      WIDTH: width,
      STRIDE: carried.stride,
      STRETCH: stretch,
      SUM_ROWS: sums.rows,
      SUM_STRIDE: sums.stride,
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: sums.buffer, access: "read" },
      { buffer: carried.buffer, access: "readWrite" },
    ],
    work: movingWork(({ positions }) =>
      4 * width * positions.reduce((sum, position) => sum + Math.ceil(position / stretch) + 1, 0)
    ),
    grid: ({ numTokens }) => numTokens > 0 ? [Math.ceil(width / 64), numTokens, 1] : undefined,
  };
}

function storeCall(node: ConvolutionHistoryNode, context: GpuContext): KernelCall {
  const { width } = node.input, { buffer, type } = context.history(node.history);
  const words = historyRowWords(node.input, type);
  const operands = readOperands({ x: node.input, before: node.before }, context, 2);
  const history: Binding = { buffer, access: "readWrite" };
  return {
    label: `convolutionHistory ${node.filter.name}, store`,
    code: specialise(storeCode, { ...controlConstants(context.layout), WORDS: words }, {
      operands: operands.code,
      packWord: packWordCode(type, width, node.before !== undefined),
    }),
    bindings: [{ buffer: context.control, access: "read" }, history, ...operands.bindings],
    work: movingWork(({ tokenIds }) => tokenIds.length * (operands.rowBytes + 4 * words)),
    grid: ({ numTokens }) => numTokens > 0 ? [Math.ceil(words / 64), numTokens, 1] : undefined,
  };
}

function packWordCode(type: HistoryType, width: number, gated: boolean): string {
  const element = (column: string) => `x(row, ${column})${gated ? ` * before(row, ${column})` : ""}`;
  if (type === "f32") {
    return `fn packWord(row: u32, word: u32) -> u32 { return bitcast<u32>(${element("word")}); }`;
  }
  // Beyond f16's range packing would give anything at all. Rows of odd width end with a zero.
  return `fn element(row: u32, column: u32) -> f32 {
    if (column >= ${width}u) { return 0.0; }
    return ${element("column")};
}
fn packWord(row: u32, word: u32) -> u32 {
    let pair = vec2<f32>(element(row, 2u * word), element(row, 2u * word + 1u));
    return pack2x16float(clamp(pair, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
}`;
}
