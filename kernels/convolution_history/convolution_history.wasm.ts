// What a sequence's earlier inputs add to the rows of a step on the CPU, and the kernel that keeps the inputs:
// out[t] = sum over j of filter[t - j] (before in)[j], per channel, over the positions j before the step's first.
//   in, before, out  f32 [tokens][stride]
//   filter           f32 [channels][FILTER_STRIDE] by lag
//   history          f32 [block][channel][16], a block's newest input first: so inputs and taps lie in the same order
//   task             HISTORY_CHANNELS channels of one sequence
// Four rows pass over the history together, so that each input is loaded once for all.
// Reference: convolutionHistoryReference. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import {
  BEFORE,
  BEFORE_STRIDE,
  BLOCK_TABLES,
  FILTER,
  FILTER_STRIDE,
  HISTORY,
  HISTORY_CHANNELS,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  MAX_BLOCKS,
  NUM_SEQUENCES,
  NUM_TAPS,
  OUTPUT,
  OUTPUT_STRIDE,
  POSITIONS,
  SLOT_MAPPING,
} from "../cpu_layout";
import { sumLanes } from "../cpu_math.wasm";
import { ceilDiv, elementOf, firstRowOf, rowAt, word } from "../cpu_step.wasm";

const BLOCK: u32 = 16;

/** Stores one token's inputs at its slot. */
export function storeHistory(call: usize, row: u32): void {
  const slot = elementOf(SLOT_MAPPING, row), width = word(call, IN_WIDTH);
  const input = rowAt(call, INPUT, INPUT_STRIDE, row), before = rowAt(call, BEFORE, BEFORE_STRIDE, row);
  const gated = word(call, BEFORE) != 0;
  let to = blockOf(call, slot / BLOCK, 0) + (<usize>(BLOCK - 1 - slot % BLOCK) << 2);
  for (let at: usize = 0, end = <usize>width << 2; at < end; at += 4, to += BLOCK << 2) {
    const x = load<f32>(input + at);
    store<f32>(to, gated ? x * load<f32>(before + at) : x);
  }
}

export function convolutionHistory(call: usize, task: u32): void {
  const numSequences = load<u32>(NUM_SEQUENCES), s = task % numSequences;
  const first = task / numSequences * HISTORY_CHANNELS, end = min(first + HISTORY_CHANNELS, word(call, IN_WIDTH));
  const endRow = firstRowOf(s + 1);
  for (let row = firstRowOf(s); row < endRow; row += 4) {
    for (let channel = first; channel < end; channel++) sumFour(call, s, row, endRow, channel);
  }
}

@inline
function blockOf(call: usize, block: u32, channel: u32): usize {
  return <usize>word(call, HISTORY) + (<usize>block * <usize>word(call, IN_WIDTH) + <usize>channel) * <usize>(BLOCK << 2);
}

/** Rows `row` to `row` + 3, as many as there are. */
function sumFour(call: usize, s: u32, row: u32, endRow: u32, channel: u32): void {
  const past = elementOf(POSITIONS, firstRowOf(s)), position = elementOf(POSITIONS, row);
  const taps = word(call, NUM_TAPS), filter = rowAt(call, FILTER, FILTER_STRIDE, channel);
  const table = <usize>load<u32>(BLOCK_TABLES) + (<usize>s * <usize>load<u32>(MAX_BLOCKS) << 2);
  let y0 = f32x4.splat(0), y1 = f32x4.splat(0), y2 = f32x4.splat(0), y3 = f32x4.splat(0);
  let edge0: f32 = 0, edge1: f32 = 0, edge2: f32 = 0, edge3: f32 = 0;
  const oldest = position >= taps ? position + 1 - taps : 0;
  for (let block = oldest / BLOCK, end = ceilDiv(past, BLOCK); block < end; block++) {
    const from = blockOf(call, load<u32>(table + (<usize>block << 2)), channel);
    const newest = block * BLOCK + BLOCK - 1;
    if (newest < past && position - newest + BLOCK + 2 < taps) {
      let tap = filter + (<usize>(position - newest) << 2);
      for (let at = from, last = from + (BLOCK << 2); at < last; at += 16, tap += 16) {
        const x = v128.load(at);
        y0 = f32x4.relaxed_madd(x, v128.load(tap), y0);
        y1 = f32x4.relaxed_madd(x, v128.load(tap, 4), y1);
        y2 = f32x4.relaxed_madd(x, v128.load(tap, 8), y2);
        y3 = f32x4.relaxed_madd(x, v128.load(tap, 12), y3);
      }
      continue;
    }
    // Where a block is not full, or reaches beyond the filter for one of the rows.
    for (let j = block * BLOCK, known = min(newest + 1, past); j < known; j++) {
      const x = load<f32>(from + (<usize>(newest - j) << 2)), lag = position - j;
      if (lag < taps) edge0 += x * load<f32>(filter + (<usize>lag << 2));
      if (lag + 1 < taps) edge1 += x * load<f32>(filter + (<usize>lag << 2), 4);
      if (lag + 2 < taps) edge2 += x * load<f32>(filter + (<usize>lag << 2), 8);
      if (lag + 3 < taps) edge3 += x * load<f32>(filter + (<usize>lag << 2), 12);
    }
  }
  const at = <usize>channel << 2;
  store<f32>(rowAt(call, OUTPUT, OUTPUT_STRIDE, row) + at, edge0 + sumLanes(y0));
  if (row + 1 < endRow) store<f32>(rowAt(call, OUTPUT, OUTPUT_STRIDE, row + 1) + at, edge1 + sumLanes(y1));
  if (row + 2 < endRow) store<f32>(rowAt(call, OUTPUT, OUTPUT_STRIDE, row + 2) + at, edge2 + sumLanes(y2));
  if (row + 3 < endRow) store<f32>(rowAt(call, OUTPUT, OUTPUT_STRIDE, row + 3) + at, edge3 + sumLanes(y3));
}
