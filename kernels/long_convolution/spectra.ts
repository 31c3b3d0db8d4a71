// The spectra of filters, made on the GPU by the transforms that convolutions are made by, when a plan is made: on the host
// those of a layer of 2048 channels would take as many seconds as a filter has some thousand taps.
import type { SetUpCall, TableSetUp } from "../gpu_set_up.ts";
import { specialise, unroll } from "../wgsl.ts";
import complexCode from "../complex.wgsl" with { type: "text" };
import { columnCode } from "./column_code.ts";
import { f32Literal } from "./dft_code.ts";
import type { ChannelSlice } from "./sizes.ts";
import columnsCode from "./spectra_columns.wgsl" with { type: "text" };
import rowsCode from "./spectra_rows.wgsl" with { type: "text" };
import wholeCode from "./spectra_whole.wgsl" with { type: "text" };
import { fftCode, fftDeclarations, mirroredCode, registersCode, type WorkgroupFft } from "./workgroup_fft.ts";

const COLUMN_THREADS = 64;

interface FilterTaps {
  /** Of each filter, and from one to the next in the source. */
  readonly taps: number;
  readonly stride: number;
  /** Filters. */
  readonly count: number;
  readonly twiddles: GPUBuffer;
}

/** The taps of a slice's channels that `most` tokens can reach, [channels of the slice][taps], of [channels][taps]. */
export function reachedTaps(
  filter: Float32Array,
  channels: number,
  { first, count }: ChannelSlice,
  most: number,
): Float32Array {
  const stored = filter.length / channels, taps = Math.min(stored, most);
  if (taps === stored) return filter.subarray(first * stored, (first + count) * stored);
  const reached = new Float32Array(count * taps);
  for (let i = 0; i < count; i++) {
    const start = (first + i) * stored;
    reached.set(filter.subarray(start, start + taps), i * taps);
  }
  return reached;
}

/** Makes records for whole.wgsl. */
export function wholeSpectra(
  { fft, taps, stride, count, twiddles }: FilterTaps & { readonly fft: WorkgroupFft },
): Pick<TableSetUp, "calls"> {
  const { registers, threads, points } = fft;
  const code = specialise(wholeCode, { THREADS: threads, MOST: points, TAPS: taps, STRIDE: stride }, {
    fft: `${complexCode}\n${fftDeclarations(fft, 2)}`,
    registers: registersCode(fft),
    load: unroll(registers / 2, (q) =>
      `{ let tap = 2u * (thread + ${q * threads}u);
if (tap < TAPS) { v${q}.x = source[first + tap]; }
if (tap + 1u < TAPS) { v${q}.y = source[first + tap + 1u]; } }`),
    transform: fftCode(fft),
    store: mirroredCode(fft, (q, mirror) => {
      if (2 * q > registers) return "";
      const store = `store(firstRecord, thread + ${q * threads}u, v${q}, conj(${mirror}));`;
      return 2 * q === registers ? `if (thread == 0u) { ${store} }` : store;
    }),
  });
  return {
    calls: (source, table) => [{
      label: `spectra of ${points}`,
      code,
      bindings: [
        { buffer: source, access: "read" },
        { buffer: table, access: "readWrite" },
        { buffer: twiddles, access: "read" },
      ],
      grid: [count, 1, 1],
    }],
  };
}

interface PassTaps extends FilterTaps {
  readonly columnPoints: number;
  readonly rowPoints: number;
  readonly rowCount: number;
  readonly fft: WorkgroupFft;
  readonly turns: GPUBuffer;
}

/** Makes rows for rows.wgsl, with the factors that the transforms leave out: 1 / size, and 2 of the columns, here and there. */
export function passSpectra(passes: PassTaps): Pick<TableSetUp, "calls"> {
  const { columnPoints, rowPoints, rowCount, fft, taps, stride, count, turns, twiddles } = passes;
  const { registers, threads } = fft, scale = f32Literal(1 / (4 * columnPoints * rowPoints));
  const shape = { ROW_POINTS: rowPoints, ROW_COUNT: rowCount };
  const columns = specialise(columnsCode, { ...shape, TAPS: taps, STRIDE: stride }, {
    declarations: complexCode,
    transform: columnCode(columnPoints, rowPoints),
  });
  const point = (q: number) => `at + thread + ${q * threads}u`;
  const rows = specialise(rowsCode, { ...shape, THREADS: threads }, {
    fft: `${complexCode}\n${fftDeclarations(fft, 1)}`,
    registers: registersCode(fft),
    load: unroll(registers, (q) => `v${q} = rows[${point(q)}];`),
    transform: fftCode(fft),
    store: unroll(registers, (q) => `rows[${point(q)}] = ${scale} * v${q};`),
  });
  return {
    calls: (source, table): SetUpCall[] => [{
      label: `spectra of ${columnPoints * rowPoints / 2}, columns`,
      code: columns,
      bindings: [
        { buffer: source, access: "read" },
        { buffer: table, access: "readWrite" },
        { buffer: turns, access: "read" },
      ],
      grid: [rowPoints / COLUMN_THREADS, count, 1],
    }, {
      label: `spectra of ${columnPoints * rowPoints / 2}, rows`,
      code: rows,
      bindings: [{ buffer: table, access: "readWrite" }, { buffer: twiddles, access: "read" }],
      grid: [rowCount, count, 1],
    }],
  };
}
