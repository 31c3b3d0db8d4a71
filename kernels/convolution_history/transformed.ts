// Large sums of an online convolution by Fourier transforms: a sum's inputs, and zeros in the place of its outputs, are
// convolved as a text of that length would be, and what comes out at the outputs is kept. The filters' spectra are made
// anew for each, since those of all sizes would take several times the memory of the filters.
import { controlConstants } from "../control.ts";
import type { GpuContext, KernelCall } from "../gpu_op.ts";
import type { ConvolutionHistoryNode } from "../graph.ts";
import { transformCalls } from "../long_convolution/gpu.ts";
import { passesFor, passSliceBytes, placedBytes } from "../long_convolution/passes.ts";
import type { Filters, Signal, Stretches } from "../long_convolution/signal.ts";
import { channelSlices, sizeClasses } from "../long_convolution/sizes.ts";
import { reachedTaps } from "../long_convolution/spectra.ts";
import { workgroupFft } from "../long_convolution/workgroup_fft.ts";
import { specialise, unroll } from "../wgsl.ts";
import { historyRowWords } from "./history_layout.ts";
import { KEPT_AT } from "./kept_code.ts";
import type { OnlineShape, OnlineTransforms } from "./online_sums.ts";
import { reachableTaps, STORED } from "./sum_calls.ts";
import gatherCode from "./transformed_gather.wgsl" with { type: "text" };
import scatterCode from "./transformed_scatter.wgsl" with { type: "text" };

/** Rows and channels of a tile, and how many of them 256 threads take at once. */
const TILE = 32, LINES = 8;

export function transformedCalls(
  node: ConvolutionHistoryNode,
  context: GpuContext,
  { window }: OnlineShape,
  { room }: OnlineTransforms,
): KernelCall[] {
  const { width } = node.input;
  const signal: Signal = {
    buffer: context.scratch("long convolution signal", 4 * width * room),
    stride: room,
  };
  const stretches: Stretches = {
    starts: context.layout.transformStarts,
    room,
    of: ({ numTransforms, longestTransform }) => ({ count: numTransforms, longest: longestTransform }),
  };
  const filters = filtersOf(node, context, stretches), sizes = sizeClasses(room);
  return [
    gatherCall(node, context, signal),
    ...sizes.flatMap((size) => transformCalls(filters, context, signal, stretches, size)),
    scatterCall(node, context, signal, window),
  ];
}

/** Taps lie on the device, in the same slices for all sizes; spectra in working memory. */
function filtersOf(node: ConvolutionHistoryNode, context: GpuContext, { room }: Stretches): Filters {
  const { filter, input: { width } } = node, taps = reachableTaps(node, context);
  const sliceChannels = fittingChannels(width, taps, context, room);
  return {
    name: `convolutionHistory ${filter.name}, transformed`,
    width,
    taps,
    sliceChannels,
    spectra: (slice, size, bytes, setUp) => {
      const buffer = context.scratch("online spectra", bytes);
      const source = context.table(
        `${filter.name}, from ${slice.first}`,
        () => reachedTaps(context.filter(filter), width, slice, taps),
      );
      const calls = setUp(taps).calls(source, buffer).map((call): KernelCall => ({
        ...call,
        grid: ({ numTransforms, longestTransform: longest }) =>
          longest >= size.fewest && (numTransforms > 1 || longest <= size.most) ? call.grid : undefined,
      }));
      return { buffer, calls };
    },
  };
}

/** Channels whose taps, spectra and rows can be bound for every size. */
function fittingChannels(width: number, taps: number, { caps }: GpuContext, room: number): number {
  const most = sizeClasses(room).map((size) => {
    if (workgroupFft(size.most, caps)) {
      return channelSlices(width, 16 * (size.most / 2 + 1), caps.maxBindingBytes)[0].count;
    }
    const bytes = placedBytes(passesFor(size.most, caps)!, { room }, size);
    return channelSlices(width, bytes, passSliceBytes(caps))[0].count;
  });
  return Math.min(...most, channelSlices(width, 4 * taps, caps.maxBindingBytes)[0].count);
}

function gatherCall(node: ConvolutionHistoryNode, context: GpuContext, signal: Signal): KernelCall {
  const { width } = node.input, { buffer, type } = context.history(node.history);
  return {
    label: `convolutionHistory ${node.filter.name}, transformed, gather`,
    code: specialise(gatherCode, {
      ...controlConstants(context.layout),
      WIDTH: width,
      WORDS: historyRowWords(node.input, type),
      SIGNAL_STRIDE: signal.stride,
    }, {
      stored: STORED[type],
      read: unroll(TILE / LINES, (i) =>
        `{ let row = 32u * group.x + line + ${i * LINES}u;
tile[(line + ${
          i * LINES
        }u) * 33u + lane] = inputAt(table, firstInput + row, min(channel, WIDTH - 1u), firstInput + row < endInput); }`),
      write: unroll(TILE / LINES, (i) =>
        `{ let channel = 32u * group.y + line + ${i * LINES}u;
if (row < numRows && channel < WIDTH) {
  signal[channel * SIGNAL_STRIDE + firstRow + row] = tile[lane * 33u + line + ${i * LINES}u];
} }`),
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: signal.buffer, access: "readWrite" },
      { buffer, access: "read" },
    ],
    grid: ({ numTransforms, longestTransform }) =>
      numTransforms > 0
        ? [
          Math.ceil(Math.min(longestTransform, signal.stride) / TILE),
          Math.ceil(width / TILE),
          numTransforms,
        ]
        : undefined,
  };
}

function scatterCall(
  node: ConvolutionHistoryNode,
  context: GpuContext,
  signal: Signal,
  window: number,
): KernelCall {
  const { width } = node.input;
  return {
    label: `convolutionHistory ${node.filter.name}, transformed, scatter`,
    code: specialise(scatterCode, {
      ...controlConstants(context.layout),
      WIDTH: width,
      WINDOW: window,
      SIGNAL_STRIDE: signal.stride,
    }, {
      keptAt: KEPT_AT,
      read: unroll(TILE / LINES, (i) =>
        `{ let channel = 32u * group.y + line + ${i * LINES}u;
if (output < endOutput && channel < WIDTH) {
  tile[(line + ${
          i * LINES
        }u) * 33u + lane] = signal[channel * SIGNAL_STRIDE + firstRow + output - firstInput];
} }`),
      write: unroll(TILE / LINES, (i) =>
        `{ let output = firstOutput + 32u * group.x + line + ${i * LINES}u;
if (output < endOutput && channel < WIDTH) {
  let at = keptAt(sequence, output, channel);
  kept[at] = select(0.0, kept[at], adds) + tile[lane * 33u + line + ${i * LINES}u];
} }`),
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: signal.buffer, access: "read" },
      { buffer: context.onlineSums(node.history), access: "readWrite" },
    ],
    grid: ({ numTransforms }) =>
      numTransforms > 0 ? [Math.ceil(window / TILE), Math.ceil(width / TILE), numTransforms] : undefined,
  };
}

/** Positions that the adapter can transform, of contexts of so many; undefined where these are too few to be worth it. */
export function transformRoom(
  positions: number,
  width: number,
  caps: GpuContext["caps"],
): number | undefined {
  let room = Math.floor(Math.min(positions, caps.maxBindingBytes / (4 * width)) / TILE) * TILE;
  while (room >= TILE) {
    const most = sizeClasses(room).at(-1)!.most;
    if (workgroupFft(most, caps) || passesFor(most, caps)) return room;
    room = most / 2;
  }
  return undefined;
}
