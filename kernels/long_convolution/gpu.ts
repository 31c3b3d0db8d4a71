// Lowers gated long convolutions by Fourier transforms: rows are transposed to channels, convolved where they lie, and
// transposed back, the gates with them.
//
// Why transposed: activations are rows [tokens][width], so neighbouring tokens of a channel are a row apart. A workgroup
// that convolved one channel straight from the rows would take 4 of each 32 bytes that memory hands it, eight times the
// traffic of two or three gates as well; and one that took eight channels at once would need eight times the workgroup
// memory, which is what bounds the length. Through a transposed copy every access runs along lines, at the price of
// writing and reading the signal once more on either side (16 bytes a token and channel, part of it still in the cache);
// the gates cost nothing extra, since the transposing kernels read them along rows. A product that left its output
// transposed would save even that.
//
// In the fast profile steps of single tokens, where there is nothing to transform, have a form of their own.
import { controlConstants } from "../control.ts";
import type { GpuContext, Grid, KernelCall } from "../gpu_op.ts";
import { onlyFor, rowStride } from "../gpu_op.ts";
import type { LongConvolutionNode } from "../graph.ts";
import { readOperands } from "../operands.ts";
import { specialise, unroll } from "../wgsl.ts";
import { movingWork } from "../work.ts";
import gatherCode from "./gather.wgsl" with { type: "text" };
import scatterCode from "./scatter.wgsl" with { type: "text" };
import type { Filters, Signal, Stretches } from "./signal.ts";
import { singleCall } from "./single.ts";
import { passCalls, passesFor } from "./passes.ts";
import { mostQueryLength, type SizeClass, sizeClasses } from "./sizes.ts";
import { reachedTaps } from "./spectra.ts";
import { wholeCalls } from "./whole.ts";
import { workgroupFft } from "./workgroup_fft.ts";

/** Rows and channels of a tile, and how many of them 256 threads take at once. */
const TILE = 32, LINES = 8;

/** @throws {RangeError} when a step's longest sequence is longer than can be transformed */
export function lowerLongConvolution(node: LongConvolutionNode, context: GpuContext): KernelCall[] {
  const { limits } = context.layout, { width } = node.input;
  const stride = Math.ceil(limits.maxTokens / 4) * 4;
  const signal: Signal = { buffer: context.scratch("long convolution signal", 4 * width * stride), stride };
  const stretches: Stretches = {
    starts: context.layout.queryStart,
    room: limits.maxTokens,
    of: ({ numSequences, maxQueryLength }) => ({ count: numSequences, longest: maxQueryLength }),
  };
  const filters = keptSpectra(node, context);
  const convolutions = sizeClasses(mostQueryLength(limits)).flatMap((size) =>
    transformCalls(filters, context, signal, stretches, size)
  );
  const calls = [gatherCall(node, context, signal), ...convolutions, scatterCall(node, context, signal)];
  if (context.profile === "safe") return calls;
  return [
    ...calls.map((call) => onlyFor(call, ({ maxQueryLength }) => maxQueryLength > 1)),
    onlyFor(singleCall(node, context), ({ maxQueryLength }) => maxQueryLength === 1),
  ];
}

/**
 * Convolves what is in the signal, stretch by stretch of the class.
 * @throws {RangeError} when the adapter cannot transform so many rows at once
 */
export function transformCalls(
  filters: Filters,
  context: GpuContext,
  signal: Signal,
  stretches: Stretches,
  size: SizeClass,
): KernelCall[] {
  const fft = workgroupFft(size.most, context.caps);
  if (fft) return wholeCalls(filters, context, signal, stretches, size, fft);
  const passes = passesFor(size.most, context.caps);
  if (passes) return passCalls(filters, context, signal, stretches, size, passes);
  throw new RangeError(
    `Cannot lower graph: this adapter cannot convolve ${size.most} tokens at once; lower --max-batch-tokens`,
  );
}

/** Spectra that are made once. */
function keptSpectra({ filter, input: { width } }: LongConvolutionNode, context: GpuContext): Filters {
  return {
    name: `longConvolution ${filter.name}`,
    width,
    taps: filter.shape[1],
    spectra: (slice, { most }, bytes, setUp) => {
      const taps = Math.min(filter.shape[1], most);
      const source = () => reachedTaps(context.filter(filter), width, slice, most);
      const name = `${filter.name}, ${most}, from ${slice.first}`;
      return { buffer: context.computedTable(name, bytes, { source, ...setUp(taps) }), calls: [] };
    },
  };
}

function gatherCall(node: LongConvolutionNode, context: GpuContext, signal: Signal): KernelCall {
  const { width } = node.input;
  const operands = readOperands({ x: node.input, before: node.before }, context, 2);
  return {
    label: `longConvolution ${node.filter.name}, gather`,
    code: specialise(gatherCode, transposeConstants(context, signal), {
      operands: operands.code,
      read: unroll(TILE / LINES, (i) =>
        `{ let row = 32u * group.x + line + ${i * LINES}u;
if (row < numRows && channel < ${width}u) {
  tile[(line + ${i * LINES}u) * 33u + lane] = x(row, channel)${node.before ? " * before(row, channel)" : ""};
} }`),
      write: unroll(TILE / LINES, (i) =>
        `{ let channel = 32u * group.y + line + ${i * LINES}u;
if (row < numRows && channel < ${width}u) {
  signal[channel * SIGNAL_STRIDE + row] = tile[lane * 33u + line + ${i * LINES}u];
} }`),
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: signal.buffer, access: "readWrite" },
      ...operands.bindings,
    ],
    work: movingWork(({ tokenIds }) => tokenIds.length * (operands.rowBytes + 4 * width)),
    grid: ({ numTokens }) => tileGrid(numTokens, width),
  };
}

function scatterCall(node: LongConvolutionNode, context: GpuContext, signal: Signal): KernelCall {
  const { width } = node.input;
  const operands = readOperands({ after: node.after, carried: node.carried }, context, 3);
  const sum = node.carried ? "(sum + carried(row, channel))" : "sum";
  return {
    label: `longConvolution ${node.filter.name}, scatter`,
    code: specialise(scatterCode, transposeConstants(context, signal), {
      operands: operands.code,
      read: unroll(TILE / LINES, (i) =>
        `{ let channel = 32u * group.y + line + ${i * LINES}u;
if (row < numRows && channel < ${width}u) {
  tile[(line + ${i * LINES}u) * 33u + lane] = signal[channel * SIGNAL_STRIDE + row];
} }`),
      write: unroll(TILE / LINES, (i) =>
        `{ let row = 32u * group.x + line + ${i * LINES}u;
if (row < numRows && channel < ${width}u) {
  let sum = tile[lane * 33u + line + ${i * LINES}u];
  y[row * ${rowStride(width)}u + channel] = ${node.after ? `after(row, channel) * ${sum}` : sum};
} }`),
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: signal.buffer, access: "read" },
      { buffer: context.activation(node.output), access: "readWrite" },
      ...operands.bindings,
    ],
    work: movingWork(({ tokenIds }) => tokenIds.length * (operands.rowBytes + 8 * width)),
    grid: ({ numTokens }) => tileGrid(numTokens, width),
  };
}

function transposeConstants(context: GpuContext, { stride }: Signal): Record<string, number> {
  return { ...controlConstants(context.layout), SIGNAL_STRIDE: stride };
}

function tileGrid(numTokens: number, width: number): Grid | undefined {
  return numTokens > 0 ? [Math.ceil(numTokens / TILE), Math.ceil(width / TILE), 1] : undefined;
}
