// Lowers convolutions that no workgroup can transform to three passes: columns.wgsl, rows.wgsl, inverse_columns.wgsl. In
// slices of channels, whose rows share working memory.
import type { GpuCaps } from "../../device/caps.ts";
import { controlConstants } from "../control.ts";
import type { Binding, GpuContext, KernelCall } from "../gpu_op.ts";
import { specialise, unroll } from "../wgsl.ts";
import { movingWork } from "../work.ts";
import { columnCode, inverseColumnCode } from "./column_code.ts";
import columnsCode from "./columns.wgsl" with { type: "text" };
import complexCode from "../complex.wgsl" with { type: "text" };
import { classTokens, convolutionWork } from "./convolution_work.ts";
import inverseColumnsCode from "./inverse_columns.wgsl" with { type: "text" };
import rowsCode from "./rows.wgsl" with { type: "text" };
import { countOf, type Filters, type Signal, SLICE_CODE, type Stretches } from "./signal.ts";
import { type ChannelSlice, channelSlices, type SizeClass } from "./sizes.ts";
import { passSpectra } from "./spectra.ts";
import {
  fftCode,
  fftDeclarations,
  mostPoints,
  registersCode,
  twiddleTable,
  type WorkgroupFft,
  workgroupFft,
} from "./workgroup_fft.ts";

/** A column's points stay in registers. */
const MOST_COLUMN_POINTS = 32;
/** Rows as long as threads hold 16 points of. */
const MOST_ROW_POINTS = 4096;
/** Of the rows of a slice, and of its products: what every adapter can bind. */
const SLICE_BYTES = 128 * 2 ** 20;
const COLUMN_THREADS = 64;

/** A real transform of columnPoints * rowPoints points. */
interface Passes {
  readonly columnPoints: number;
  readonly rowPoints: number;
  /** Rows that are stored. */
  readonly rowCount: number;
  readonly fft: WorkgroupFft;
}

/** How the device convolves so many tokens in three passes; undefined where columns would be too long. */
export function passesFor(
  most: number,
  caps: Pick<GpuCaps, "maxWorkgroupBytes" | "maxInvocations">,
): Passes | undefined {
  const rowPoints = Math.min(MOST_ROW_POINTS, mostPoints(caps)), columnPoints = 2 * most / rowPoints;
  if (columnPoints > MOST_COLUMN_POINTS) return undefined;
  return { columnPoints, rowPoints, rowCount: columnPoints / 2 + 1, fft: workgroupFft(rowPoints, caps)! };
}

/** What the dispatches of all slices share. */
interface Shared {
  readonly signal: Signal;
  readonly stretches: Stretches;
  readonly rows: GPUBuffer;
  /** Of columns, and of rows. */
  readonly turns: GPUBuffer;
  readonly twiddles: GPUBuffer;
  readonly forms: ReturnType<typeof passForms>;
}

/** For each slice of channels three dispatches, and those that make its spectra. */
export function passCalls(
  filters: Filters,
  context: GpuContext,
  signal: Signal,
  stretches: Stretches,
  size: SizeClass,
  passes: Passes,
): KernelCall[] {
  const { rowPoints } = passes, bytes = placedBytes(passes, stretches, size);
  const slices = channelSlices(filters.width, bytes, passSliceBytes(context.caps), filters.sliceChannels);
  const shared: Shared = {
    signal,
    stretches,
    rows: context.scratch("long convolution rows", slices[0].count * bytes),
    turns: context.table(`turns of ${size.most}`, () => turnTable(size.most, rowPoints)),
    twiddles: context.table(`twiddles of ${rowPoints}`, () => twiddleTable(rowPoints)),
    forms: passForms(context, signal, stretches, size, passes),
  };
  return slices.flatMap((slice) => sliceCalls(filters, context, size, passes, slice, shared));
}

/** Of the rows of a slice. */
export function passSliceBytes({ maxBindingBytes }: Pick<GpuCaps, "maxBindingBytes">): number {
  return Math.min(SLICE_BYTES, maxBindingBytes);
}

/** Of a channel's rows, for as many stretches of the class as there can be. */
export function placedBytes(
  passes: Passes,
  { room }: Pick<Stretches, "room">,
  { fewest }: SizeClass,
): number {
  return channelBytes(passes) * Math.floor(room / fewest);
}

function channelBytes({ rowCount, rowPoints }: Passes): number {
  return 8 * rowCount * rowPoints;
}

function sliceCalls(
  filters: Filters,
  context: GpuContext,
  size: SizeClass,
  passes: Passes,
  slice: ChannelSlice,
  { signal, stretches, rows, turns, twiddles, forms }: Shared,
): KernelCall[] {
  const control: Binding = { buffer: context.control, access: "read" };
  const channels: Binding = { buffer: context.uniform([slice.first, slice.count]), access: "uniform" };
  const bytes = channelBytes(passes);
  const taps = Math.min(filters.taps, size.most), { count } = slice;
  const products = filters.spectra(
    slice,
    size,
    count * bytes,
    (stride) => passSpectra({ ...passes, taps, stride, count, turns, twiddles }),
  );
  const label = `${filters.name}, ${size.most}`;
  const columnWork = movingWork((batch) => {
    const { tokens, sequences } = classTokens(size, batch);
    return slice.count * (4 * tokens + sequences * bytes);
  });
  const gridOf = (x: number): KernelCall["grid"] => (shape) => {
    const numStretches = countOf(size, stretches, shape);
    return numStretches > 0 ? [x, slice.count, numStretches] : undefined;
  };
  const columnGrid = gridOf(passes.rowPoints / COLUMN_THREADS);
  const read = (buffer: GPUBuffer): Binding => ({ buffer, access: "read" });
  const written = (buffer: GPUBuffer): Binding => ({ buffer, access: "readWrite" });
  return [...products.calls, {
    label: `${label} columns`,
    code: forms.columns,
    bindings: [control, read(signal.buffer), written(rows), channels, read(turns)],
    work: columnWork,
    grid: columnGrid,
  }, {
    label: `${label} rows`,
    code: forms.rows,
    bindings: [control, written(rows), read(products.buffer), channels, read(twiddles)],
    work: convolutionWork(size, slice.count, bytes, (sequences) => sequences * 2 * bytes),
    grid: gridOf(passes.rowCount),
  }, {
    label: `${label} inverse columns`,
    code: forms.inverseColumns,
    bindings: [control, written(signal.buffer), read(rows), channels, read(turns)],
    work: columnWork,
    grid: columnGrid,
  }];
}

/** e^(-πi column / most), what neighbouring rows of a column are turned by. */
function turnTable(most: number, rowPoints: number): Float32Array {
  const table = new Float32Array(2 * rowPoints);
  for (let column = 0; column < rowPoints; column++) {
    table[2 * column] = Math.cos(Math.PI * column / most);
    table[2 * column + 1] = -Math.sin(Math.PI * column / most);
  }
  return table;
}

function passForms(
  context: GpuContext,
  { stride }: Signal,
  { starts }: Stretches,
  { fewest, most }: SizeClass,
  passes: Passes,
) {
  const { columnPoints, rowPoints, rowCount, fft } = passes, { registers, threads } = fft;
  const constants = {
    ...controlConstants(context.layout),
    STARTS: starts,
    THREADS: threads,
    FEWEST: fewest,
    MOST: most,
    SIGNAL_STRIDE: stride,
    ROW_POINTS: rowPoints,
    ROW_COUNT: rowCount,
  };
  const declarations = `${complexCode}\n${SLICE_CODE}`;
  const point = (q: number) => `thread + ${q * threads}u`;
  return {
    columns: specialise(columnsCode, constants, {
      declarations,
      transform: columnCode(columnPoints, rowPoints),
    }),
    rows: specialise(rowsCode, constants, {
      fft: `${declarations}\n${fftDeclarations(fft, 4)}`,
      registers: registersCode(fft),
      load: unroll(registers, (q) => `v${q} = rows[at + ${point(q)}];`),
      transform: fftCode(fft),
      product: unroll(registers, (q) => `v${q} = conj(times(v${q}, products[firstProduct + ${point(q)}]));`),
      store: unroll(registers, (q) => `rows[at + ${point(q)}] = conj(v${q});`),
    }),
    inverseColumns: specialise(inverseColumnsCode, constants, {
      declarations,
      transform: inverseColumnCode(columnPoints, rowPoints),
    }),
  };
}
