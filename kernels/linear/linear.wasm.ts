// Linear on the CPU: output = activation(x · weightᵀ + bias) + residual.
//   weight   panels of 12 rows, three vectors of four: i8 [panel][in / 4][3][4 rows][4 of in] or f32 [panel][in][3][4 rows]
//   int8     in one of two forms, whichever the machine does faster (int8_form.ts): x as three limbs of 7 bits
//            (quantize_rows.wasm.ts), one dot product of bytes each, put together at the end; or panels made f32 on the way
//   task     some panels for up to ROW_BLOCK rows; a panel stays in the first-level cache for all its rows
// Nine sums live in registers: V8 has fifteen to give, and twelve sums beside their operands are too many. A row's sums
// have the same order at every batch size. Reference: linear() in reference.ts. AssemblyScript; compiled into cpu.wasm
// (cpu.wasm.ts).
import {
  ACTIVATION,
  BIAS,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  NUM_PANELS,
  NUM_THREADS,
  OUTPUT,
  OUTPUT_STRIDE,
  PANEL_BYTES,
  RESIDUAL,
  ROW_BLOCK,
  ROW_SCALES,
  SCRATCH,
  SCRATCH_BYTES,
  WEIGHT,
  WEIGHT_SCALES,
  WEIGHT_SUMS,
} from "../cpu_layout";
import { geluErf4, geluTanh4 } from "../cpu_math.wasm";
import { ceilDiv, numRows, rowAt, word } from "../cpu_step.wasm";

/** Rows x panels x columns of a task, at least: much work against taking it, and a stretch of memory worth reading ahead. */
const LEAST_WORK: u32 = 24576;

export function linearTasks(call: usize): u32 {
  if (numRows(call) == 0) return 0;
  return panelTasks(call) * ceilDiv(numRows(call), ROW_BLOCK);
}

@inline
function panelTasks(call: usize): u32 {
  return ceilDiv(word(call, NUM_PANELS), panelsPerTask(call));
}

/** Few enough that there is a task for every thread. */
function panelsPerTask(call: usize): u32 {
  const worthwhile = ceilDiv(LEAST_WORK, min(numRows(call), ROW_BLOCK) * word(call, IN_WIDTH));
  return min(worthwhile, ceilDiv(word(call, NUM_PANELS), load<u32>(NUM_THREADS)));
}

export function linearI8(call: usize, task: u32): void {
  const groups = ceilDiv(word(call, IN_WIDTH), 4);
  const panelBytes = <usize>groups * PANEL_BYTES;
  const limbs = <usize>word(call, INPUT), limbBytes = <usize>word(call, INPUT_STRIDE);
  const firstRow = task / panelTasks(call) * ROW_BLOCK;
  const lastRow = min(firstRow + ROW_BLOCK, numRows(call));
  const count = panelsPerTask(call);
  let panel = task % panelTasks(call) * count;
  const lastPanel = min(panel + count, word(call, NUM_PANELS));
  for (; panel < lastPanel; panel++) {
    const weight = <usize>word(call, WEIGHT) + <usize>panel * panelBytes;
    for (let row = firstRow; row < lastRow; row++) {
      panelI8(call, weight, weight + panelBytes, limbs + <usize>row * limbBytes, panel, row);
    }
  }
}

function panelI8(call: usize, weight: usize, end: usize, limbs: usize, panel: u32, row: u32): void {
  let a2 = i32x4.splat(0), a1 = a2, a0 = a2;
  let b2 = a2, b1 = a2, b0 = a2;
  let c2 = a2, c1 = a2, c0 = a2;
  while (weight < end) {
    const x2 = v128.load32_splat(limbs), x1 = v128.load32_splat(limbs, 4), x0 = v128.load32_splat(limbs, 8);
    let w = v128.load(weight);
    a2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x2, a2);
    a1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x1, a1);
    a0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x0, a0);
    w = v128.load(weight, 16);
    b2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x2, b2);
    b1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x1, b1);
    b0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x0, b0);
    w = v128.load(weight, 32);
    c2 = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x2, c2);
    c1 = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x1, c1);
    c0 = i32x4.relaxed_dot_i8x16_i7x16_add_s(w, x0, c0);
    weight += PANEL_BYTES;
    limbs += 12;
  }
  const at = <usize>panel * PANEL_BYTES;
  const sums = <usize>word(call, WEIGHT_SUMS) + at, scales = <usize>word(call, WEIGHT_SCALES) + at;
  const rowScale = f32x4.splat(load<f32>(word(call, ROW_SCALES) + (row << 2)));
  finish(call, panel, row, 0, dequantize(a2, a1, a0, sums, scales, rowScale));
  finish(call, panel, row, 16, dequantize(b2, b1, b0, sums + 16, scales + 16, rowScale));
  finish(call, panel, row, 32, dequantize(c2, c1, c0, sums + 32, scales + 32, rowScale));
}

/** The zeros that the limbs were stored with are taken out as integers, before anything is rounded. */
@inline
function dequantize(high: v128, middle: v128, low: v128, sums: usize, scales: usize, rowScale: v128): v128 {
  const zero = v128.load(sums);
  const h = f32x4.convert_i32x4_s(i32x4.sub(high, zero));
  const m = f32x4.convert_i32x4_s(i32x4.sub(middle, zero));
  const l = f32x4.convert_i32x4_s(i32x4.sub(low, zero));
  const sum = f32x4.relaxed_madd(h, f32x4.splat(16384), f32x4.relaxed_madd(m, f32x4.splat(128), l));
  return f32x4.mul(f32x4.mul(sum, v128.load(scales)), rowScale);
}

/** f32 weights, and int8 ones (those with scales) that each thread makes f32 in its scratch, panel by panel. */
export function linearF32(call: usize, task: u32, thread: u32): void {
  const width = word(call, IN_WIDTH), isI8 = word(call, WEIGHT_SCALES) != 0;
  const panelBytes = <usize>width * PANEL_BYTES;
  const storedBytes = isI8 ? <usize>ceilDiv(width, 4) * PANEL_BYTES : panelBytes;
  const scratch = <usize>load<u32>(SCRATCH) + <usize>thread * <usize>load<u32>(SCRATCH_BYTES);
  const stride = <usize>word(call, INPUT_STRIDE) << 2;
  const firstRow = task / panelTasks(call) * ROW_BLOCK;
  const lastRow = min(firstRow + ROW_BLOCK, numRows(call));
  const count = panelsPerTask(call);
  let panel = task % panelTasks(call) * count;
  const lastPanel = min(panel + count, word(call, NUM_PANELS));
  for (; panel < lastPanel; panel++) {
    let weight = <usize>word(call, WEIGHT) + <usize>panel * storedBytes;
    if (isI8) weight = toF32(weight, storedBytes, scratch);
    let row = firstRow;
    for (; row + 3 <= lastRow; row += 3) {
      threeRowsF32(call, weight, weight + panelBytes, rowAt(call, INPUT, INPUT_STRIDE, row), stride, panel, row);
    }
    for (; row < lastRow; row++) {
      oneRowF32(call, weight, weight + panelBytes, rowAt(call, INPUT, INPUT_STRIDE, row), panel, row);
    }
  }
}

/** Makes an int8 panel f32 [in][3][4 rows] at `to`, without its scales; returns `to`. */
function toF32(panel: usize, bytes: usize, to: usize): usize {
  let out = to;
  for (const end = panel + bytes; panel < end; panel += PANEL_BYTES, out += 4 * PANEL_BYTES) {
    for (let vector = 0; vector < PANEL_BYTES; vector += 16) {
      const w = v128.load(panel + vector);
      v128.store(out + vector, f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(w, 24), 24)));
      v128.store(out + vector, f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(w, 16), 24)), 48);
      v128.store(out + vector, f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(w, 8), 24)), 96);
      v128.store(out + vector, f32x4.convert_i32x4_s(i32x4.shr_s(w, 24)), 144);
    }
  }
  return to;
}

function threeRowsF32(
  call: usize,
  weight: usize,
  end: usize,
  first: usize,
  stride: usize,
  panel: u32,
  row: u32,
): void {
  let second = first + stride, third = second + stride;
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0;
  let b0 = a0, b1 = a0, b2 = a0;
  let c0 = a0, c1 = a0, c2 = a0;
  while (weight < end) {
    const x0 = v128.load32_splat(first), x1 = v128.load32_splat(second), x2 = v128.load32_splat(third);
    let w = v128.load(weight);
    a0 = f32x4.relaxed_madd(w, x0, a0);
    a1 = f32x4.relaxed_madd(w, x1, a1);
    a2 = f32x4.relaxed_madd(w, x2, a2);
    w = v128.load(weight, 16);
    b0 = f32x4.relaxed_madd(w, x0, b0);
    b1 = f32x4.relaxed_madd(w, x1, b1);
    b2 = f32x4.relaxed_madd(w, x2, b2);
    w = v128.load(weight, 32);
    c0 = f32x4.relaxed_madd(w, x0, c0);
    c1 = f32x4.relaxed_madd(w, x1, c1);
    c2 = f32x4.relaxed_madd(w, x2, c2);
    weight += PANEL_BYTES;
    first += 4;
    second += 4;
    third += 4;
  }
  finishF32(call, panel, row, 0, a0);
  finishF32(call, panel, row, 16, b0);
  finishF32(call, panel, row, 32, c0);
  finishF32(call, panel, row + 1, 0, a1);
  finishF32(call, panel, row + 1, 16, b1);
  finishF32(call, panel, row + 1, 32, c1);
  finishF32(call, panel, row + 2, 0, a2);
  finishF32(call, panel, row + 2, 16, b2);
  finishF32(call, panel, row + 2, 32, c2);
}

function oneRowF32(call: usize, weight: usize, end: usize, x: usize, panel: u32, row: u32): void {
  let a = f32x4.splat(0), b = a, c = a;
  while (weight < end) {
    const value = v128.load32_splat(x);
    a = f32x4.relaxed_madd(v128.load(weight), value, a);
    b = f32x4.relaxed_madd(v128.load(weight, 16), value, b);
    c = f32x4.relaxed_madd(v128.load(weight, 32), value, c);
    weight += PANEL_BYTES;
    x += 4;
  }
  finishF32(call, panel, row, 0, a);
  finishF32(call, panel, row, 16, b);
  finishF32(call, panel, row, 32, c);
}

function finishF32(call: usize, panel: u32, row: u32, offset: usize, sum: v128): void {
  const scales = word(call, WEIGHT_SCALES);
  if (scales) sum = f32x4.mul(sum, v128.load(<usize>scales + <usize>panel * PANEL_BYTES + offset));
  finish(call, panel, row, offset, sum);
}

/** Stores four outputs, `offset` bytes into the panel's twelve. */
function finish(call: usize, panel: u32, row: u32, offset: usize, sum: v128): void {
  const at = <usize>panel * PANEL_BYTES + offset;
  let y = sum;
  const bias = word(call, BIAS), activation = word(call, ACTIVATION), residual = word(call, RESIDUAL);
  if (bias) y = f32x4.add(y, v128.load(<usize>bias + at));
  if (activation == 1) y = geluTanh4(y);
  else if (activation == 2) y = geluErf4(y);
  if (residual) y = f32x4.add(y, v128.load(rowAt(call, RESIDUAL, OUTPUT_STRIDE, row) + at));
  v128.store(rowAt(call, OUTPUT, OUTPUT_STRIDE, row) + at, y);
}
