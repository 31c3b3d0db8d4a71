// Lowers convolutions that no workgroup can transform to three passes: columns.wgsl, rows.wgsl, inverse_columns.wgsl. In
// slices of channels, whose rows share working memory.
import type { GpuCaps } from "../../device/caps.ts";
import { controlConstants } from "../control.ts";
import { FilterSpectra, rowProduct } from "../filters/filter_spectrum.ts";
import type { GpuContext, Grid, KernelCall } from "../gpu_op.ts";
import type { LongConvolutionNode } from "../graph.ts";
import { specialise, unroll } from "../wgsl.ts";
import { movingWork } from "../work.ts";
import { columnCode, inverseColumnCode } from "./column_code.ts";
import columnsCode from "./columns.wgsl" with { type: "text" };
import complexCode from "../complex.wgsl" with { type: "text" };
import { classTokens, convolutionWork } from "./convolution_work.ts";
import inverseColumnsCode from "./inverse_columns.wgsl" with { type: "text" };
import rowsCode from "./rows.wgsl" with { type: "text" };
import { mayHave, type Signal, SLICE_CODE } from "./signal.ts";
import { type ChannelSlice, channelSlices, type SizeClass } from "./sizes.ts";
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

/** Three dispatches for each slice of channels. */
export function passCalls(
  node: LongConvolutionNode,
  context: GpuContext,
  signal: Signal,
  size: SizeClass,
  passes: Passes,
): KernelCall[] {
  const channelBytes = 8 * passes.rowCount * passes.rowPoints;
  const places = Math.floor(context.layout.limits.maxTokens / size.fewest);
  const mostBytes = Math.min(SLICE_BYTES, context.caps.maxBindingBytes);
  const slices = channelSlices(node.input.width, channelBytes * places, mostBytes);
  const rows = context.scratch("long convolution rows", slices[0].count * channelBytes * places);
  const turns = context.table(`turns of ${size.most}`, () => turnTable(size.most, passes.rowPoints));
  const forms = passForms(context, signal, size, passes);
  return slices.flatMap((slice) => {
    const channels = context.uniform([slice.first, slice.count]);
    const products = context.table(
      `${node.filter.name}, ${size.most}, from ${slice.first}`,
      () => productTable(context.filter(node.filter), node.input.width, slice, size.most, passes),
    );
    const label = `longConvolution ${node.filter.name}, ${size.most}`;
    const columnGrid: Grid = [passes.rowPoints / COLUMN_THREADS, slice.count, 1];
    const columnWork = movingWork((batch) => {
      const { tokens, sequences } = classTokens(size, batch);
      return slice.count * (4 * tokens + sequences * channelBytes);
    });
    const gridOf = ([x, y]: Grid): KernelCall["grid"] => (shape) =>
      mayHave(size, shape) ? [x, y, shape.numSequences] : undefined;
    return [{
      label: `${label} columns`,
      code: forms.columns,
      bindings: [
        { buffer: context.control, access: "read" },
        { buffer: signal.buffer, access: "read" },
        { buffer: rows, access: "readWrite" },
        { buffer: channels, access: "uniform" },
        { buffer: turns, access: "read" },
      ],
      work: columnWork,
      grid: gridOf(columnGrid),
    }, {
      label: `${label} rows`,
      code: forms.rows,
      bindings: [
        { buffer: context.control, access: "read" },
        { buffer: rows, access: "readWrite" },
        { buffer: products, access: "read" },
        { buffer: channels, access: "uniform" },
        {
          buffer: context.table(`twiddles of ${passes.rowPoints}`, () => twiddleTable(passes.rowPoints)),
          access: "read",
        },
      ],
      work: convolutionWork(size, slice.count, channelBytes, (sequences) => sequences * 2 * channelBytes),
      grid: gridOf([passes.rowCount, slice.count, 1]),
    }, {
      label: `${label} inverse columns`,
      code: forms.inverseColumns,
      bindings: [
        { buffer: context.control, access: "read" },
        { buffer: signal.buffer, access: "readWrite" },
        { buffer: rows, access: "read" },
        { buffer: channels, access: "uniform" },
        { buffer: turns, access: "read" },
      ],
      work: columnWork,
      grid: gridOf(columnGrid),
    }];
  });
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

/** The spectra of a slice's channels, with the factors that the transforms leave out: 1 / (2 most), and 2 of the columns. */
function productTable(
  filter: Float32Array,
  channels: number,
  { first, count }: ChannelSlice,
  most: number,
  { columnPoints, rowPoints, rowCount }: Passes,
): Float32Array {
  const taps = filter.length / channels, floats = 2 * rowCount * rowPoints;
  const spectra = new FilterSpectra(2 * most), table = new Float32Array(count * floats);
  for (let i = 0; i < count; i++) {
    const start = (first + i) * taps;
    const spectrum = spectra.of(filter.subarray(start, start + Math.min(taps, most)));
    table.set(rowProduct(spectrum, columnPoints, 1 / (4 * most)), i * floats);
  }
  return table;
}

function passForms(context: GpuContext, { stride }: Signal, { fewest, most }: SizeClass, passes: Passes) {
  const { columnPoints, rowPoints, rowCount, fft } = passes, { registers, threads } = fft;
  const constants = {
    ...controlConstants(context.layout),
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
