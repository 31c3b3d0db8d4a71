// Long causal convolution on the CPU: out = after (filter conv (before in) + carried), over a sequence's rows of the step.
//   in, before, after, carried, out  f32 [tokens][stride]
//   filter                           f32 [channels][FILTER_STRIDE] by lag
//   task                             LONG_CHANNELS channels of one sequence, one in each lane of a vector
// Directly: inputs and taps are laid out by channel in working memory, taps beyond the filter's zero, and three more zeros
// before lag 0, so that four outputs share every input and taps pass from one to the next.
// Reference: longConvolutionReference. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import {
  BEFORE,
  BEFORE_STRIDE,
  CARRIED,
  CARRIED_STRIDE,
  FILTER,
  FILTER_STRIDE,
  GATE,
  GATE_STRIDE,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  LONG_CHANNELS,
  NUM_SEQUENCES,
  NUM_TAPS,
  OUTPUT,
  OUTPUT_STRIDE,
} from "../cpu_layout";
import { firstRowOf, rowAt, scratchOf, word } from "../cpu_step.wasm";

export function longConvolution(call: usize, task: u32, thread: u32): void {
  const numSequences = load<u32>(NUM_SEQUENCES), s = task % numSequences;
  const first = task / numSequences * LONG_CHANNELS, end = min(first + LONG_CHANNELS, word(call, IN_WIDTH));
  const firstRow = firstRowOf(s), length = firstRowOf(s + 1) - firstRow;
  const signal = scratchOf(thread), taps = signal + (<usize>(length + 3) << 4);
  memory.fill(signal, 0, <usize>(2 * length + 6) << 4);
  for (let channel = first; channel < end; channel++) layOut(call, channel, channel - first, firstRow, length, signal, taps);
  for (let t: u32 = 0; t < length; t += 4) {
    let y0 = f32x4.splat(0), y1 = f32x4.splat(0), y2 = f32x4.splat(0), y3 = f32x4.splat(0);
    // Outputs t to t + 3 from inputs 0 to t + 3: the tap of lag l lies at 3 + l.
    let tap = taps + (<usize>(t + 3) << 4);
    let tap0 = v128.load(tap), tap1 = lagOf(taps, t + 1, length), tap2 = lagOf(taps, t + 2, length);
    let tap3 = lagOf(taps, t + 3, length);
    for (let at = signal, last = signal + (<usize>(t + 3) << 4); at <= last; at += 16) {
      const x = v128.load(at);
      y0 = f32x4.relaxed_madd(tap0, x, y0);
      y1 = f32x4.relaxed_madd(tap1, x, y1);
      y2 = f32x4.relaxed_madd(tap2, x, y2);
      y3 = f32x4.relaxed_madd(tap3, x, y3);
      tap3 = tap2;
      tap2 = tap1;
      tap1 = tap0;
      if (at == last) break;
      tap -= 16;
      tap0 = v128.load(tap);
    }
    for (let channel = first; channel < end; channel++) {
      const lane = channel - first;
      storeLane(call, firstRow, length, t, channel, pick(y0, lane));
      storeLane(call, firstRow, length, t + 1, channel, pick(y1, lane));
      storeLane(call, firstRow, length, t + 2, channel, pick(y2, lane));
      storeLane(call, firstRow, length, t + 3, channel, pick(y3, lane));
    }
  }
}

/** Taps of a lag; zero beyond those that the rows can need, which only outputs beyond the last row ask for. */
@inline
function lagOf(taps: usize, lag: u32, length: u32): v128 {
  return lag < length ? v128.load(taps + (<usize>(lag + 3) << 4)) : f32x4.splat(0);
}

function layOut(call: usize, channel: u32, lane: u32, firstRow: u32, length: u32, signal: usize, taps: usize): void {
  const at = <usize>channel << 2, to = <usize>lane << 2, before = word(call, BEFORE);
  const filter = rowAt(call, FILTER, FILTER_STRIDE, channel), numTaps = min(word(call, NUM_TAPS), length);
  for (let t: u32 = 0; t < length; t++) {
    let x = load<f32>(rowAt(call, INPUT, INPUT_STRIDE, firstRow + t) + at);
    if (before) x *= load<f32>(rowAt(call, BEFORE, BEFORE_STRIDE, firstRow + t) + at);
    store<f32>(signal + (<usize>t << 4) + to, x);
  }
  for (let lag: u32 = 0; lag < numTaps; lag++) {
    store<f32>(taps + (<usize>(lag + 3) << 4) + to, load<f32>(filter + (<usize>lag << 2)));
  }
}

@inline
function pick(y: v128, lane: u32): f32 {
  if (lane == 0) return f32x4.extract_lane(y, 0);
  if (lane == 1) return f32x4.extract_lane(y, 1);
  if (lane == 2) return f32x4.extract_lane(y, 2);
  return f32x4.extract_lane(y, 3);
}

function storeLane(call: usize, firstRow: u32, length: u32, t: u32, channel: u32, value: f32): void {
  if (t >= length) return;
  const row = firstRow + t, at = <usize>channel << 2;
  let y = value;
  if (word(call, CARRIED)) y += load<f32>(rowAt(call, CARRIED, CARRIED_STRIDE, row) + at);
  if (word(call, GATE)) y *= load<f32>(rowAt(call, GATE, GATE_STRIDE, row) + at);
  store<f32>(rowAt(call, OUTPUT, OUTPUT_STRIDE, row) + at, y);
}
