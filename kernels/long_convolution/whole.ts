// Lowers convolutions that one workgroup can transform to whole.wgsl.
import { controlConstants } from "../control.ts";
import type { GpuContext, Grid, KernelCall } from "../gpu_op.ts";
import { specialise, unroll } from "../wgsl.ts";
import complexCode from "../complex.wgsl" with { type: "text" };
import { convolutionWork } from "./convolution_work.ts";
import { f32Literal } from "./dft_code.ts";
import { countOf, type Filters, type Signal, SLICE_CODE, type Stretches } from "./signal.ts";
import { channelSlices, type SizeClass } from "./sizes.ts";
import { wholeSpectra } from "./spectra.ts";
import wholeCode from "./whole.wgsl" with { type: "text" };
import {
  fftCode,
  fftDeclarations,
  mirroredCode,
  registersCode,
  twiddleTable,
  type WorkgroupFft,
} from "./workgroup_fft.ts";

/** For each slice of channels whose spectra can be bound one dispatch, and those that make the spectra. */
export function wholeCalls(
  filters: Filters,
  context: GpuContext,
  signal: Signal,
  stretches: Stretches,
  size: SizeClass,
  fft: WorkgroupFft,
): KernelCall[] {
  const { most } = size, { name, width } = filters, recordBytes = 16 * (most / 2 + 1);
  const code = wholeForm(context, signal, stretches, size, fft);
  const twiddles = context.table(`twiddles of ${most}`, () => twiddleTable(most));
  const slices = channelSlices(width, recordBytes, context.caps.maxBindingBytes, filters.sliceChannels);
  return slices.flatMap((slice) => {
    const { first, count } = slice, taps = Math.min(filters.taps, most);
    const spectra = filters.spectra(
      slice,
      size,
      count * recordBytes,
      (stride) => wholeSpectra({ fft, taps, stride, count, twiddles }),
    );
    return [...spectra.calls, {
      label: `${name}, whole ${most}`,
      code,
      bindings: [
        { buffer: context.control, access: "read" },
        { buffer: signal.buffer, access: "readWrite" },
        { buffer: spectra.buffer, access: "read" },
        { buffer: context.uniform([first, count]), access: "uniform" },
        { buffer: twiddles, access: "read" },
      ],
      work: convolutionWork(size, count, recordBytes, (_, tokens) => 8 * tokens),
      grid: (shape): Grid | undefined => {
        const numStretches = countOf(size, stretches, shape);
        return numStretches > 0 ? [count, numStretches, 1] : undefined;
      },
    }];
  });
}

function wholeForm(
  context: GpuContext,
  { stride }: Signal,
  { starts }: Stretches,
  { fewest, most }: SizeClass,
  fft: WorkgroupFft,
) {
  const { registers, threads } = fft;
  const constants = {
    ...controlConstants(context.layout),
    STARTS: starts,
    THREADS: threads,
    FEWEST: fewest,
    MOST: most,
    SIGNAL_STRIDE: stride,
  };
  return specialise(wholeCode, constants, {
    fft: [complexCode, SLICE_CODE, fftDeclarations(fft, 4)].join("\n"),
    registers: registersCode(fft),
    // The second half of the tokens is the padding.
    load: unroll(registers / 2, (q) =>
      `{ let token = 2u * (thread + ${q * threads}u);
if (token < length) { v${q}.x = signal[first + token]; }
if (token + 1u < length) { v${q}.y = signal[first + token + 1u]; } }`),
    transform: fftCode(fft),
    product: mirroredCode(fft, (q, mirror) => productCode(fft, q, mirror)),
    store: unroll(registers / 2, (q) =>
      `{ let token = 2u * (thread + ${q * threads}u);
if (token < length) { signal[first + token] = v${q}.x; }
if (token + 1u < length) { signal[first + token + 1u] = -v${q}.y; } }`),
  });
}

/** The conjugate of the product at register q's frequency, as spectra_whole.wgsl has it: those of the second half mirror the first. */
function productCode({ registers, threads, points }: WorkgroupFft, q: number, mirror: string): string {
  const upper = 2 * q >= registers, sign = f32Literal(upper ? -1 : 1);
  const frequency = upper ? `${points - q * threads}u - thread` : `thread + ${q * threads}u`;
  return `{ let frequency = ${frequency};
let product = products[firstProduct + frequency];
let angle = twiddles[frequency];
let s = vec2<f32>(product.x, ${sign} * product.y);
let d = vec2<f32>(${sign} * product.z, product.w);
let turned = ${sign} * angle.x * vec2<f32>(-d.y, d.x);
v${q} = conj(times(s + angle.y * d, v${q}) + times(turned, conj(${mirror}))); }`;
}
