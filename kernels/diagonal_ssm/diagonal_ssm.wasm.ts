// Diagonal SSM on the CPU: s[n] <- poles[n] s[n] + in[t]; out[t] = gate[t] (Re sum of residues[n] s[n] + skip in[t]).
//   in, gate, out    f32 [tokens][stride]
//   poles, residues  f32 [channels][MODE_STRIDE], pairs of real and imaginary part
//   states           f32 [slots][channels][modes] of such pairs
//   task             SSM_CHANNELS channels of one sequence; a channel after the other goes through all rows, its state in
//                    working memory with real and imaginary parts apart, so that a vector has four modes
// Reference: diagonalSsmReference. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import {
  GATE,
  GATE_STRIDE,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  MODE_STRIDE,
  NUM_MODES,
  NUM_SEQUENCES,
  OUTPUT,
  OUTPUT_STRIDE,
  POLES,
  POSITIONS,
  RESIDUES,
  SKIP,
  SSM_CHANNELS,
  STATE_SLOTS,
  STATES,
} from "../cpu_layout";
import { sumLanes } from "../cpu_math.wasm";
import { ceilDiv, elementOf, firstRowOf, rowAt, scratchOf, word } from "../cpu_step.wasm";

export function diagonalSsm(call: usize, task: u32, thread: u32): void {
  const numSequences = load<u32>(NUM_SEQUENCES), s = task % numSequences;
  const width = word(call, IN_WIDTH), modes = word(call, NUM_MODES);
  const first = task / numSequences * SSM_CHANNELS, end = min(first + SSM_CHANNELS, width);
  const firstRow = firstRowOf(s), endRow = firstRowOf(s + 1);
  const begins = elementOf(POSITIONS, firstRow) == 0;
  const bytes = <usize>ceilDiv(modes, 4) << 4, scratch = scratchOf(thread);
  for (let channel = first; channel < end; channel++) {
    const state = <usize>word(call, STATES) +
      (<usize>(elementOf(STATE_SLOTS, s) * width + channel) * <usize>modes << 3);
    memory.fill(scratch, 0, 6 * bytes);
    if (!begins) takeApart(state, scratch, bytes, modes);
    takeApart(rowAt(call, POLES, MODE_STRIDE, channel), scratch + 2 * bytes, bytes, modes);
    takeApart(rowAt(call, RESIDUES, MODE_STRIDE, channel), scratch + 4 * bytes, bytes, modes);
    for (let row = firstRow; row < endRow; row++) advance(call, row, channel, scratch, bytes);
    for (let n: usize = 0, count = <usize>modes << 2; n < count; n += 4) {
      store<f32>(state + 2 * n, load<f32>(scratch + n));
      store<f32>(state + 2 * n + 4, load<f32>(scratch + bytes + n));
    }
  }
}

/** Real parts to `to`, imaginary ones `bytes` further. */
function takeApart(pairs: usize, to: usize, bytes: usize, modes: u32): void {
  for (let n: usize = 0, count = <usize>modes << 2; n < count; n += 4) {
    store<f32>(to + n, load<f32>(pairs + 2 * n));
    store<f32>(to + bytes + n, load<f32>(pairs + 2 * n + 4));
  }
}

function advance(call: usize, row: u32, channel: u32, scratch: usize, bytes: usize): void {
  const at = <usize>channel << 2, x = load<f32>(rowAt(call, INPUT, INPUT_STRIDE, row) + at);
  const x4 = f32x4.splat(x);
  let sums = f32x4.splat(0);
  for (let place = scratch, end = scratch + bytes; place < end; place += 16) {
    const re = v128.load(place), im = v128.load(place + bytes);
    const poleRe = v128.load(place + 2 * bytes), poleIm = v128.load(place + 3 * bytes);
    const nextRe = f32x4.relaxed_nmadd(poleIm, im, f32x4.relaxed_madd(poleRe, re, x4));
    const nextIm = f32x4.relaxed_madd(poleIm, re, f32x4.mul(poleRe, im));
    v128.store(place, nextRe);
    v128.store(place + bytes, nextIm);
    sums = f32x4.relaxed_madd(v128.load(place + 4 * bytes), nextRe, sums);
    sums = f32x4.relaxed_nmadd(v128.load(place + 5 * bytes), nextIm, sums);
  }
  let y = sumLanes(sums);
  const skip = <usize>word(call, SKIP);
  if (skip) y += load<f32>(skip + at) * x;
  if (word(call, GATE)) y *= load<f32>(rowAt(call, GATE, GATE_STRIDE, row) + at);
  store<f32>(rowAt(call, OUTPUT, OUTPUT_STRIDE, row) + at, y);
}
