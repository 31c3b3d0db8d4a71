// Short causal convolution on the CPU: out[t] = gate[t] (sum over i of filter[i] in[t - i] + bias), per channel.
//   in, gate, out  f32 [tokens][stride]
//   filter         f32 [taps][FILTER_STRIDE] by lag
//   states         f32 [slots][taps - 1][width]: position p at place p mod (taps - 1)
//   task           SHORT_CHANNELS channels of one sequence, all of its rows, then the last of them are kept
// Reference: shortConvolutionReference. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import {
  BIAS,
  FILTER,
  FILTER_STRIDE,
  GATE,
  GATE_STRIDE,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  NUM_SEQUENCES,
  NUM_TAPS,
  OUTPUT,
  OUTPUT_STRIDE,
  POSITIONS,
  SHORT_CHANNELS,
  STATE_SLOTS,
  STATES,
} from "../cpu_layout";
import { elementOf, firstRowOf, rowAt, word } from "../cpu_step.wasm";

export function shortConvolution(call: usize, task: u32): void {
  const numSequences = load<u32>(NUM_SEQUENCES), s = task % numSequences;
  const width = word(call, IN_WIDTH), ring = word(call, NUM_TAPS) - 1;
  const first = task / numSequences * SHORT_CHANNELS, end = min(first + SHORT_CHANNELS, width);
  const firstRow = firstRowOf(s), endRow = firstRowOf(s + 1);
  const rowBytes = <usize>width << 2;
  const state = <usize>word(call, STATES) + <usize>(elementOf(STATE_SLOTS, s) * ring) * rowBytes;
  for (let row = firstRow; row < endRow; row++) {
    let channel = first;
    for (; channel + 4 <= end; channel += 4) convolve4(call, row, firstRow, channel, state, rowBytes);
    for (; channel < end; channel++) convolve1(call, row, firstRow, channel, state, rowBytes);
  }
  const start = <usize>first << 2, bytes = <usize>(end - first) << 2;
  for (let row = endRow - min(ring, endRow - firstRow); row < endRow; row++) {
    const place = <usize>(elementOf(POSITIONS, row) % ring);
    memory.copy(state + place * rowBytes + start, rowAt(call, INPUT, INPUT_STRIDE, row) + start, bytes);
  }
}

/** Address of the inputs `lag` before `row`; 0 before the sequence's beginning. */
@inline
function inputsAt(call: usize, row: u32, firstRow: u32, lag: u32, state: usize, rowBytes: usize): usize {
  if (lag <= row - firstRow) return rowAt(call, INPUT, INPUT_STRIDE, row - lag);
  const position = elementOf(POSITIONS, row);
  if (lag > position) return 0;
  return state + <usize>((position - lag) % (word(call, NUM_TAPS) - 1)) * rowBytes;
}

function convolve4(call: usize, row: u32, firstRow: u32, channel: u32, state: usize, rowBytes: usize): void {
  const at = <usize>channel << 2, bias = <usize>word(call, BIAS), gate = <usize>word(call, GATE);
  let sum = bias ? v128.load(bias + at) : f32x4.splat(0);
  for (let lag: u32 = 0, taps = word(call, NUM_TAPS); lag < taps; lag++) {
    const inputs = inputsAt(call, row, firstRow, lag, state, rowBytes);
    if (!inputs) break;
    sum = f32x4.relaxed_madd(v128.load(rowAt(call, FILTER, FILTER_STRIDE, lag) + at), v128.load(inputs + at), sum);
  }
  if (gate) sum = f32x4.mul(sum, v128.load(rowAt(call, GATE, GATE_STRIDE, row) + at));
  v128.store(rowAt(call, OUTPUT, OUTPUT_STRIDE, row) + at, sum);
}

function convolve1(call: usize, row: u32, firstRow: u32, channel: u32, state: usize, rowBytes: usize): void {
  const at = <usize>channel << 2, bias = <usize>word(call, BIAS), gate = <usize>word(call, GATE);
  let sum = bias ? load<f32>(bias + at) : <f32>0;
  for (let lag: u32 = 0, taps = word(call, NUM_TAPS); lag < taps; lag++) {
    const inputs = inputsAt(call, row, firstRow, lag, state, rowBytes);
    if (!inputs) break;
    sum += load<f32>(rowAt(call, FILTER, FILTER_STRIDE, lag) + at) * load<f32>(inputs + at);
  }
  if (gate) sum *= load<f32>(rowAt(call, GATE, GATE_STRIDE, row) + at);
  store<f32>(rowAt(call, OUTPUT, OUTPUT_STRIDE, row) + at, sum);
}
