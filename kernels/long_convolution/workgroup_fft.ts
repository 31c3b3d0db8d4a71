// Fourier transforms by a whole workgroup: each thread holds some of the points in registers, small transforms are
// written out, and between them the points change threads through workgroup memory. After Stockham's arrangement, in which
// points go in and come out in natural order: before and after every pass register q of a thread holds point
// thread + THREADS q. Writes WGSL; knows no buffers but its own.
import type { GpuCaps } from "../../device/caps.ts";
import { unroll } from "../wgsl.ts";
import { CodeWriter, dft, powers } from "./dft_code.ts";

export interface WorkgroupFft {
  readonly points: number;
  readonly threads: number;
  /** Points that a thread holds. */
  readonly registers: number;
  /** Sizes of the small transforms, pass by pass; their product is `points`. */
  readonly radices: readonly number[];
  /** Whether real and imaginary parts change threads one after the other, in half the memory. */
  readonly split: boolean;
  /** Whether an element is left out after every 32, so that strides of powers of two meet other banks. */
  readonly padded: boolean;
}

/** From so many points on threads hold 16 of them, below 8. */
const FEWEST_OF_16 = 4096;
/** One pass more would be needed below. */
const FEWEST_POINTS = 64;

/** The most points that a workgroup of the device can transform. */
export function mostPoints(caps: Pick<GpuCaps, "maxWorkgroupBytes" | "maxInvocations">): number {
  let points = FEWEST_POINTS;
  while (workgroupFft(2 * points, caps)) points *= 2;
  return points;
}

/** How a workgroup transforms so many points, a power of two of at least FEWEST_POINTS; undefined where it cannot. */
export function workgroupFft(
  points: number,
  { maxWorkgroupBytes, maxInvocations }: Pick<GpuCaps, "maxWorkgroupBytes" | "maxInvocations">,
): WorkgroupFft | undefined {
  const registers = points >= FEWEST_OF_16 ? 16 : 8, threads = points / registers;
  const memory = [{ split: false, padded: true }, { split: false, padded: false }, {
    split: true,
    padded: true,
  }, {
    split: true,
    padded: false,
  }].find(({ split, padded }) => elementsFor(points, padded) * (split ? 4 : 8) <= maxWorkgroupBytes);
  if (!memory || threads > maxInvocations) return undefined;
  return { points, threads, registers, radices: radicesOf(points, registers), ...memory };
}

function elementsFor(points: number, padded: boolean): number {
  return padded ? points + points / 32 : points;
}

/** As few passes as there can be, and none of 2, which takes as long as one of 4. */
function radicesOf(points: number, most: number): number[] {
  const radices: number[] = [];
  let left = points;
  while (left > 1) {
    const radix = left === 2 * most ? most / 2 : Math.min(left, most);
    radices.push(radix);
    left /= radix;
  }
  return radices;
}

/** WGSL: what exchanges and transforms need, with the twiddle table at `binding`, that of `twiddleTable`. */
export function fftDeclarations(fft: WorkgroupFft, binding: number): string {
  const { points, split, padded } = fft;
  return `/** e^(-πi m / ${points}) */
@group(0) @binding(${binding}) var<storage, read> twiddles: array<vec2<f32>>;
var<workgroup> exchange: array<${split ? "f32" : "vec2<f32>"}, ${elementsFor(points, padded)}>;
fn placeOf(point: u32) -> u32 { return ${padded ? "point + point / 32u" : "point"}; }`;
}

/** WGSL that declares the registers, with points of zero. */
export function registersCode({ registers }: WorkgroupFft): string {
  return unroll(registers, (q) => `var v${q} = vec2<f32>();`);
}

/** e^(-πi m / points), m < points, as pairs: of twice the order that the transform needs, for packed real ones. */
export function twiddleTable(points: number): Float32Array {
  const table = new Float32Array(2 * points);
  for (let m = 0; m < points; m++) {
    table[2 * m] = Math.cos(Math.PI * m / points);
    table[2 * m + 1] = -Math.sin(Math.PI * m / points);
  }
  return table;
}

/**
 * WGSL that transforms the points in the registers v0, v1 and so on: forward, without a factor. The inverse is the
 * conjugate of the conjugate's transform, so that a loop of two turns does both and compilers see the code once. Every use
 * of `exchange` begins with a barrier, since others may still be reading what the use before has left.
 */
export function fftCode(fft: WorkgroupFft): string {
  const { points, registers, radices, threads } = fft;
  let done = 1;
  return radices.map((radix, pass) => {
    const items = registers / radix, stride = done, last = pass === radices.length - 1;
    const lines = Array.from({ length: items }, (_, item) => {
      const writer = new CodeWriter(`p${pass}i${item}n`);
      const place = writer.name(`thread + ${item * threads}u`);
      const inner = stride > 1 ? writer.name(`${place} & ${stride - 1}u`) : "0u";
      const names = Array.from({ length: radix }, (_, i) => `v${item + i * items}`);
      const turned = stride > 1 ? twiddled(writer, names, inner, 2 * points / (stride * radix)) : names;
      // All outputs are computed before any register changes.
      dft(writer, turned, "forward").forEach((value, i) => writer.line(`v${item + i * items} = ${value};`));
      if (!last) writer.line(`let first${item} = (${place} - ${inner}) * ${radix}u + ${inner};`);
      return writer.toString();
    });
    done *= radix;
    const exchange = exchanged(
      fft,
      (q) => `first${q % items} + ${Math.floor(q / items) * stride}u`,
      (q) => `thread + ${q * threads}u`,
    );
    return ["{", ...lines, ...(last ? [] : [exchange]), "}"].join("\n");
  }).join("\n");
}

/** `values` times the powers of e^(-πi inner stride / points). */
function twiddled(writer: CodeWriter, values: readonly string[], inner: string, stride: number): string[] {
  const roots = powers(writer, writer.name(`twiddles[${inner} * ${stride}u]`), values.length);
  return values.map((value, i) => i > 0 ? writer.name(`times(${value}, ${roots[i]})`) : value);
}

/** WGSL that writes register q to point `to(q)` and then reads it from point `from(q)`. */
function exchanged(fft: WorkgroupFft, to: (q: number) => string, from: (q: number) => string): string {
  const parts = fft.split ? [".x", ".y"] : [""];
  return parts.map((part) =>
    [
      "workgroupBarrier();",
      unroll(fft.registers, (q) => `exchange[placeOf(${to(q)})] = v${q}${part};`),
      "workgroupBarrier();",
      unroll(fft.registers, (q) => `v${q}${part} = exchange[placeOf(${from(q)})];`),
    ].join("\n")
  ).join("\n");
}

/**
 * WGSL that calls `combine(q, mirror)` for every register q, where `mirror` names the point that lies as far from the end
 * as q's lies from the beginning (of point 0: itself).
 */
export function mirroredCode(fft: WorkgroupFft, combine: (q: number, mirror: string) => string): string {
  const { points, registers, threads, split } = fft;
  const at = (q: number) => `placeOf((${points - q * threads}u - thread) & ${points - 1}u)`;
  const parts = split ? [".x", ".y"] : [""];
  return [
    unroll(registers, (q) => `var mirror${q}: vec2<f32>;`),
    ...parts.map((part) =>
      [
        "workgroupBarrier();",
        unroll(registers, (q) => `exchange[placeOf(thread + ${q * threads}u)] = v${q}${part};`),
        "workgroupBarrier();",
        unroll(registers, (q) => `mirror${q}${part} = exchange[${at(q)}];`),
      ].join("\n")
    ),
    unroll(registers, (q) => combine(q, `mirror${q}`)),
  ].join("\n");
}
