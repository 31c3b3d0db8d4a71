// Direct sums over a long convolution's history, for rows and inputs that the caller chooses: stretches.wgsl with what is
// particular to it.
import { controlConstants } from "../control.ts";
import type { Binding, GpuContext, KernelCall } from "../gpu_op.ts";
import type { ConvolutionHistoryNode } from "../graph.ts";
import { channelSlices } from "../long_convolution/sizes.ts";
import { reachedTaps } from "../long_convolution/spectra.ts";
import { BLOCK_SIZE, type StepBatch } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import type { Work } from "../gpu_op.ts";
import { historyRowWords, type HistoryType } from "./history_layout.ts";
import stretchesCode from "./stretches.wgsl" with { type: "text" };
import { tapsByLag } from "./taps_by_lag.ts";

/** Threads that share a channel's history in a workgroup; with 16 rows their sums take 12 KiB of its memory. */
const LINES = 4;

/** One kind of sums. */
export interface SumForm {
  /** What labels say. */
  readonly name: string;
  /** Rows that a thread sums for. */
  readonly tile: number;
  readonly sums: GPUBuffer;
  readonly constants?: Readonly<Record<string, number>>;
  /** Read as well, from binding 5 on: declarations and buffers. */
  readonly more?: { readonly code: string; readonly bindings: readonly Binding[] };
  /**
   * WGSL that leaves a workgroup with nothing to do, or names `sequence`, `position` (of the tile's first row), and inputs from
   * `oldest` to before `end`.
   */
  readonly range: string;
  /** WGSL that stores the sum of row r of the tile, an expression. */
  take(r: number, sum: string): string;
  /** Workgroups beside those of channels. */
  grid(shape: Parameters<KernelCall["grid"]>[0]): readonly [y: number, z: number] | undefined;
  /** @param rowBytes of one token's inputs in the history, as far as a dispatch reads them */
  work?(batch: StepBatch, channels: number, rowBytes: number): Work;
}

export function longestContext({ layout: { limits } }: GpuContext): number {
  return limits.maxBlocksPerSequence * BLOCK_SIZE;
}

/** Taps that any row can reach. */
export function reachableTaps({ filter }: ConvolutionHistoryNode, context: GpuContext): number {
  return Math.min(filter.shape[1], longestContext(context));
}

/** A dispatch for each slice of channels whose taps can be bound. */
export function sumCalls(
  node: ConvolutionHistoryNode,
  context: GpuContext,
  form: SumForm,
): KernelCall[] {
  const { filter, history, input: { width } } = node, { tile } = form;
  const { buffer, type } = context.history(history), words = historyRowWords({ width }, type);
  const taps = reachableTaps(node, context);
  const code = specialise(stretchesCode, {
    ...controlConstants(context.layout),
    WORDS: words,
    TAPS: taps,
    TILE: tile,
    LINES,
    THREADS: 64 * LINES,
    ...form.constants,
  }, {
    bindings: form.more?.code ?? "",
    stored: STORED[type],
    range: form.range,
    declare: unroll(tile, (r) => `var sum${r} = 0.0;`),
    block: blockCode(tile),
    give: unroll(tile, (r) => `others[at + ${64 * r}u] = sum${r};`),
    take: unroll(tile, (r) => {
      const all = Array.from({ length: LINES - 1 }, (_, i) => `others[${64 * (i * tile + r)}u + lane]`);
      return form.take(r, `(sum${r} + ${all.join(" + ")})`);
    }),
  });
  const slices = channelSlices(width, 4 * taps, context.caps.maxBindingBytes);
  return slices.map(({ first, count }): KernelCall => ({
    label: `convolutionHistory ${filter.name}, ${form.name}`,
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
      { buffer: form.sums, access: "readWrite" },
      { buffer: context.uniform([first, count]), access: "uniform" },
      ...form.more?.bindings ?? [],
    ],
    ...(form.work && { work: (batch) => form.work!(batch, count, 4 * words * count / width) }),
    grid: (shape) => {
      const rest = form.grid(shape);
      return rest && [Math.ceil(count / 64), ...rest];
    },
  }));
}

/** WGSL that reads an input. */
export const STORED: Record<HistoryType, string> = {
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
