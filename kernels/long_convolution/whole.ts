// Lowers convolutions that one workgroup can transform to whole.wgsl.
import { controlConstants } from "../control.ts";
import { FilterSpectra, packedProduct } from "../filters/filter_spectrum.ts";
import type { GpuContext, KernelCall } from "../gpu_op.ts";
import type { LongConvolutionNode } from "../graph.ts";
import { specialise, unroll } from "../wgsl.ts";
import complexCode from "../complex.wgsl" with { type: "text" };
import { convolutionWork } from "./convolution_work.ts";
import { f32Literal } from "./dft_code.ts";
import { mayHave, type Signal, SLICE_CODE } from "./signal.ts";
import { channelSlices, type SizeClass } from "./sizes.ts";
import wholeCode from "./whole.wgsl" with { type: "text" };
import {
  fftCode,
  fftDeclarations,
  mirroredCode,
  registersCode,
  twiddleTable,
  type WorkgroupFft,
} from "./workgroup_fft.ts";

/** One dispatch for each slice of channels whose spectra can be bound. */
export function wholeCalls(
  node: LongConvolutionNode,
  context: GpuContext,
  signal: Signal,
  size: SizeClass,
  fft: WorkgroupFft,
): KernelCall[] {
  const { most } = size, recordBytes = 16 * (most / 2 + 1);
  const code = wholeForm(context, signal, size, fft);
  const twiddles = context.table(`twiddles of ${most}`, () => twiddleTable(most));
  const slices = channelSlices(node.input.width, recordBytes, context.caps.maxBindingBytes);
  return slices.map(({ first, count }) => ({
    label: `longConvolution ${node.filter.name}, whole ${most}`,
    code,
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: signal.buffer, access: "readWrite" },
      {
        buffer: context.table(
          `${node.filter.name}, ${most}, from ${first}`,
          () => productTable(context.filter(node.filter), node.input.width, first, count, most),
        ),
        access: "read",
      },
      { buffer: context.uniform([first, count]), access: "uniform" },
      { buffer: twiddles, access: "read" },
    ],
    work: convolutionWork(size, count, recordBytes, (_, tokens) => 8 * tokens),
    grid: (shape) => mayHave(size, shape) ? [count, shape.numSequences, 1] : undefined,
  }));
}

/** The records of channels [first, first + count), of the taps that `most` tokens can reach. */
function productTable(
  filter: Float32Array,
  channels: number,
  first: number,
  count: number,
  most: number,
): Float32Array {
  const taps = filter.length / channels, floats = 4 * (most / 2 + 1);
  const spectra = new FilterSpectra(2 * most), table = new Float32Array(count * floats);
  for (let i = 0; i < count; i++) {
    const start = (first + i) * taps;
    const spectrum = spectra.of(filter.subarray(start, start + Math.min(taps, most)));
    table.set(packedProduct(spectrum), i * floats);
  }
  return table;
}

function wholeForm(context: GpuContext, { stride }: Signal, { fewest, most }: SizeClass, fft: WorkgroupFft) {
  const { registers, threads } = fft;
  const constants = {
    ...controlConstants(context.layout),
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

/** The conjugate of the product at register q's frequency, in the notation of `packedProduct`: those of the second half mirror the first. */
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
