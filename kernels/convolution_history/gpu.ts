// Lowers the history of a long convolution: its inputs are stored in paged blocks, and what earlier ones add to a step's
// rows is summed directly, for tiles of rows. In the fast profile steps of single tokens have a form of their own, which
// spreads a history over workgroups, since there would be too few. The safe profile keeps to tiles, so that a row's sums
// depend on where its chunk begins and never on its batch.
import { controlConstants } from "../control.ts";
import { type Binding, type GpuContext, type KernelCall, onlyFor, rowStride, type Work } from "../gpu_op.ts";
import type { ConvolutionHistoryNode } from "../graph.ts";
import { channelSlices } from "../long_convolution/sizes.ts";
import { reachedTaps } from "../long_convolution/spectra.ts";
import { readOperands } from "../operands.ts";
import { BLOCK_SIZE, type StepBatch } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import { movingWork } from "../work.ts";
import addCode from "./add.wgsl" with { type: "text" };
import { historyRowWords, type HistoryType } from "./history_layout.ts";
import storeCode from "./store.wgsl" with { type: "text" };
import { tapsByLag } from "./taps_by_lag.ts";
import stretchesCode from "./stretches.wgsl" with { type: "text" };

/** Threads that share a channel's history in a workgroup; with 16 rows their sums take 12 KiB of its memory. */
const LINES = 4;
/** Inputs of a stretch at least, and stretches at most: then even one sequence fills a large GPU. */
const SHORTEST_STRETCH = 256, MOST_STRETCHES = 32;

export function lowerConvolutionHistory(node: ConvolutionHistoryNode, context: GpuContext): KernelCall[] {
  const { layout, profile } = context;
  const carried: Sums = {
    buffer: context.activation(node.output),
    rows: 0,
    stride: rowStride(node.input.width),
  };
  const whole = longestContext(context);
  const tiles = sumCalls(node, context, carried, { tile: layout.tileTokens, stretch: whole });
  const store = storeCall(node, context);
  if (profile === "safe") return [store, ...tiles];
  return [
    store,
    ...tiles.map((call) => onlyFor(call, (shape) => shape.maxQueryLength > 1)),
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

interface SumForm {
  /** Rows that a thread sums for. */
  readonly tile: number;
  /** Inputs of one workgroup, whole blocks. */
  readonly stretch: number;
}

function longestContext({ layout: { limits } }: GpuContext): number {
  return limits.maxBlocksPerSequence * BLOCK_SIZE;
}

function decodeCalls(node: ConvolutionHistoryNode, context: GpuContext, carried: Sums): KernelCall[] {
  const { width } = node.input, { maxSequences } = context.layout.limits, longest = longestContext(context);
  const shortest = Math.ceil(longest / MOST_STRETCHES / BLOCK_SIZE) * BLOCK_SIZE;
  const stretch = Math.max(SHORTEST_STRETCH, shortest), stretches = Math.ceil(longest / stretch);
  if (stretches === 1) return sumCalls(node, context, carried, { tile: 1, stretch });
  const bytes = 4 * stretches * maxSequences * width;
  const sums: Sums = {
    buffer: context.scratch("sums of stretches", bytes),
    rows: maxSequences,
    stride: width,
  };
  return [
    ...sumCalls(node, context, sums, { tile: 1, stretch }),
    addCall(node, context, sums, carried, stretch),
  ];
}

/** A dispatch for each slice of channels whose taps can be bound. */
function sumCalls(
  { filter, history, input: { width } }: ConvolutionHistoryNode,
  context: GpuContext,
  sums: Sums,
  { tile, stretch }: SumForm,
): KernelCall[] {
  const { buffer, type } = context.history(history), words = historyRowWords({ width }, type);
  const taps = Math.min(filter.shape[1], longestContext(context));
  const code = specialise(stretchesCode, {
    ...controlConstants(context.layout),
    WORDS: words,
    TAPS: taps,
    TILE: tile,
    STRETCH: stretch,
    SUM_ROWS: sums.rows,
    SUM_STRIDE: sums.stride,
    LINES,
    THREADS: 64 * LINES,
  }, {
    stored: STORED[type],
    declare: unroll(tile, (r) => `var sum${r} = 0.0;`),
    block: blockCode(tile),
    give: unroll(tile, (r) => `others[at + ${64 * r}u] = sum${r};`),
    take: unroll(tile, (r) => {
      const all = Array.from({ length: LINES - 1 }, (_, i) => `others[${64 * (i * tile + r)}u + lane]`);
      return `if (${r}u < numRows) { sums[firstSum + ${r * sums.stride}u] = sum${r} + ${all.join(" + ")}; }`;
    }),
  });
  const slices = channelSlices(width, 4 * taps, context.caps.maxBindingBytes);
  return slices.map(({ first, count }): KernelCall => ({
    label: `convolutionHistory ${filter.name}, ${tile > 1 ? "tiles" : "single tokens"}`,
    code,
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer, access: "read" },
      {
        buffer: context.computedTable(
          `${filter.name} by lag, from ${first}`,
          4 * taps * count,
          tapsByLag(() => reachedTaps(context.filter(filter), width, { first, count }, taps), taps, count),
        ),
        access: "read",
      },
      { buffer: sums.buffer, access: "readWrite" },
      { buffer: context.uniform([first, count]), access: "uniform" },
    ],
    work: (batch) => sumWork(batch, taps, count, 4 * words * count / width),
    grid: ({ numTiles, maxContextLength }) => {
      if (numTiles === 0) return undefined;
      return [Math.ceil(count / 64), numTiles, Math.max(1, Math.ceil(maxContextLength / stretch))];
    },
  }));
}

const STORED: Record<HistoryType, string> = {
  f32: `fn stored(slot: u32, channel: u32) -> f32 { return bitcast<f32>(history[slot * WORDS + channel]); }`,
  f16: `fn stored(slot: u32, channel: u32) -> f32 {
    let pair = unpack2x16float(history[slot * WORDS + channel / 2u]);
    return select(pair.x, pair.y, channel % 2u == 1u);
}`,
};

/** Row r needs of input i the tap of lag position + r - start - i. */
function blockCode(tile: number): string {
  const last = BLOCK_SIZE - 1;
  return [
    unroll(BLOCK_SIZE, (i) => `let u${i} = inputAt(slot + ${i}u, channel, start + ${i}u < end);`),
    unroll(tile + last, (k) => `let h${k} = tapAt(lag + ${k}u, column);`),
    unroll(tile, (r) => {
      const products = Array.from({ length: BLOCK_SIZE }, (_, i) => `h${last + r - i} * u${i}`);
      return `sum${r} += ${products.join(" + ")};`;
    }),
  ].join("\n");
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
