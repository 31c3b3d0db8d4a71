// Rows of activations as integers, for products with int8 weights. A row's values are scaled so that the largest
// magnitude becomes LIMB_MAX, rounded, and split in three limbs of 7 bits: the products are then sums of integers, exact
// in any order, and the rounding (2^-21 of the row's largest value) is about f32's own.
//   in   f32 [rows][stride]
//   out  u8 [rows][inWidth / 4][3 limbs, high to low][4 values], limbs with LIMB_ZERO added; f32 [rows] scales
//   task one row. Tested through linears with int8 weights
// AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import { IN_WIDTH, INPUT, INPUT_STRIDE, LIMB_MAX, LIMB_ZERO, OUTPUT, OUTPUT_STRIDE, ROW_SCALES } from "../cpu_layout";
import { maxLanes, sumLanes } from "../cpu_math.wasm";
import { rowAt, word } from "../cpu_step.wasm";

/** LIMB_ZERO in each limb. */
const ZEROS: i32 = LIMB_ZERO * (1 << 14 | 1 << 7 | 1);

export function quantizeRows(call: usize, row: u32): void {
  const input = rowAt(call, INPUT, INPUT_STRIDE, row);
  const width = word(call, IN_WIDTH);
  const largest = largestMagnitude(input, width);
  // What is too small to divide by becomes zero; NaN and infinity reach the products through the row's scale.
  const vanishes = largest <= 1e-30;
  const scale: f32 = vanishes ? 0 : <f32>LIMB_MAX / largest;
  store<f32>(<usize>word(call, ROW_SCALES) + (<usize>row << 2), vanishes ? 0 : largest / <f32>LIMB_MAX);

  // Whole groups of 16 values: what lies behind the row's end is never multiplied.
  const scales = f32x4.splat(scale);
  let from = input, to = <usize>word(call, OUTPUT) + <usize>row * <usize>word(call, OUTPUT_STRIDE);
  for (const end = input + (<usize>width << 2); from < end; from += 64, to += 48) {
    const a = toInteger(from, scales), b = toInteger(from + 16, scales);
    const c = toInteger(from + 32, scales), d = toInteger(from + 48, scales);
    storeLimbs(to, bytes(limb(a, 14), limb(b, 14), limb(c, 14), limb(d, 14)));
    storeLimbs(to + 4, bytes(limb(a, 7), limb(b, 7), limb(c, 7), limb(d, 7)));
    storeLimbs(to + 8, bytes(limb(a, 0), limb(b, 0), limb(c, 0), limb(d, 0)));
  }
}

/** The largest |value|; NaN where a value is not finite. */
function largestMagnitude(input: usize, width: u32): f32 {
  const end = input + (<usize>width << 2);
  let most = f32x4.splat(0), zero = most, at = input;
  for (; at + 16 <= end; at += 16) {
    const x = v128.load(at);
    most = f32x4.pmax(most, f32x4.abs(x));
    zero = f32x4.relaxed_madd(x, f32x4.splat(0), zero);
  }
  let largest = maxLanes(most) + sumLanes(zero);
  for (; at < end; at += 4) largest = max(largest, abs(load<f32>(at)));
  return largest;
}

@inline
function toInteger(from: usize, scales: v128): v128 {
  const rounded = f32x4.nearest(f32x4.mul(v128.load(from), scales));
  return i32x4.add(i32x4.relaxed_trunc_f32x4_s(rounded), i32x4.splat(ZEROS));
}

@inline
function limb(integers: v128, shift: i32): v128 {
  return v128.and(i32x4.shr_u(integers, shift), i32x4.splat(127));
}

@inline
function bytes(a: v128, b: v128, c: v128, d: v128): v128 {
  return i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_u(a, b), i16x8.narrow_i32x4_u(c, d));
}

/** One limb of 16 values: four groups of four, 12 bytes apart. */
@inline
function storeLimbs(to: usize, limbs: v128): void {
  v128.store32_lane(to, limbs, 0);
  v128.store32_lane(to, limbs, 1, 12);
  v128.store32_lane(to, limbs, 2, 24);
  v128.store32_lane(to, limbs, 3, 36);
}
