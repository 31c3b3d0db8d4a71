// What a sequence's earlier inputs add to the rows of a step on the CPU, and the kernel that keeps the inputs:
// out[t] = sum over j of filter[t - j] (before in)[j], per channel, over the positions j before the step's first.
//   in, before, out  f32 [tokens][stride]
//   filter           f32 [channels][FILTER_STRIDE] by lag
//   history          f32 [block][channel][16], a block's newest input first: so inputs and taps lie in the same order
//   kept             f32 [places][WINDOW][channels]: sums that are made online (online_sums.ts), or there are none
//   task             HISTORY_CHANNELS channels of one sequence, or of one such sum
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
  KEPT,
  MAX_BLOCKS,
  NUM_ONLINE_SUMS,
  NUM_SEQUENCES,
  NUM_TAPS,
  ONLINE_PLACES,
  ONLINE_SUM_BYTES,
  ONLINE_SUMS,
  OUTPUT,
  OUTPUT_STRIDE,
  POSITIONS,
  SLOT_MAPPING,
  SQUARE,
  WINDOW,
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
  const firstRow = firstRowOf(s), endRow = firstRowOf(s + 1);
  if (endRow == firstRow) return;
  const past = elementOf(POSITIONS, firstRow), stride = <usize>word(call, OUTPUT_STRIDE) << 2;
  const online = word(call, KEPT) != 0 && endRow - firstRow == 1;
  const nearest = online ? past - past % word(call, SQUARE) : 0;
  for (let row = firstRow; row < endRow; row += 4) {
    const position = elementOf(POSITIONS, row), count = min(endRow - row, 4);
    for (let channel = first; channel < end; channel++) {
      const to = rowAt(call, OUTPUT, OUTPUT_STRIDE, row) + (<usize>channel << 2);
      if (online) store<f32>(to, load<f32>(keptAt(call, s, past, channel)));
      sumFour(call, s, position, nearest, past, channel, to, stride, count, online);
    }
  }
}

/** Tasks: HISTORY_CHANNELS channels of one sum. */
export function onlineSquares(call: usize, task: u32): void {
  const numSums = load<u32>(NUM_ONLINE_SUMS), width = word(call, IN_WIDTH);
  const record = <usize>load<u32>(ONLINE_SUMS) + <usize>(task % numSums) * <usize>ONLINE_SUM_BYTES;
  const s = load<u32>(record), firstInput = load<u32>(record, 4), endInput = load<u32>(record, 8);
  const firstOutput = load<u32>(record, 12), endOutput = load<u32>(record, 16), adds = load<u32>(record, 20) == 1;
  const first = task / numSums * HISTORY_CHANNELS, stride = <usize>width << 2;
  for (let channel = first, end = min(first + HISTORY_CHANNELS, width); channel < end; channel++) {
    for (let output = firstOutput; output < endOutput; output += 4) {
      sumFour(call, s, output, firstInput, endInput, channel, keptAt(call, s, output, channel), stride, 4, adds);
    }
  }
}

export function onlineSquareTasks(call: usize): u32 {
  return load<u32>(NUM_ONLINE_SUMS) * ceilDiv(word(call, IN_WIDTH), HISTORY_CHANNELS);
}

@inline
function keptAt(call: usize, s: u32, position: u32, channel: u32): usize {
  const window = word(call, WINDOW), row = <usize>elementOf(ONLINE_PLACES, s) * <usize>window + <usize>(position % window);
  return <usize>word(call, KEPT) + (row * <usize>word(call, IN_WIDTH) + <usize>channel << 2);
}

@inline
function blockOf(call: usize, block: u32, channel: u32): usize {
  return <usize>word(call, HISTORY) + (<usize>block * <usize>word(call, IN_WIDTH) + <usize>channel) * <usize>(BLOCK << 2);
}

/**
 * What inputs [firstInput, past) add to the outputs at `position` and the `count` - 1 after it, at most 4, which lie `stride`
 * bytes apart: in place of what is there, or in addition.
 */
function sumFour(
  call: usize,
  s: u32,
  position: u32,
  firstInput: u32,
  past: u32,
  channel: u32,
  to: usize,
  stride: usize,
  count: u32,
  adds: bool,
): void {
  const taps = word(call, NUM_TAPS), filter = rowAt(call, FILTER, FILTER_STRIDE, channel);
  const table = <usize>load<u32>(BLOCK_TABLES) + (<usize>s * <usize>load<u32>(MAX_BLOCKS) << 2);
  let y0 = f32x4.splat(0), y1 = f32x4.splat(0), y2 = f32x4.splat(0), y3 = f32x4.splat(0);
  let edge0: f32 = 0, edge1: f32 = 0, edge2: f32 = 0, edge3: f32 = 0;
  const oldest = max(firstInput, position >= taps ? position + 1 - taps : 0);
  for (let block = oldest / BLOCK, end = ceilDiv(past, BLOCK); block < end; block++) {
    const stored = blockOf(call, load<u32>(table + (<usize>block << 2)), channel);
    const newest = block * BLOCK + BLOCK - 1;
    if (newest < past && position - newest + BLOCK + 2 < taps) {
      let tap = filter + (<usize>(position - newest) << 2);
      for (let at = stored, last = stored + (BLOCK << 2); at < last; at += 16, tap += 16) {
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
      const x = load<f32>(stored + (<usize>(newest - j) << 2)), lag = position - j;
      if (lag < taps) edge0 += x * load<f32>(filter + (<usize>lag << 2));
      if (lag + 1 < taps) edge1 += x * load<f32>(filter + (<usize>lag << 2), 4);
      if (lag + 2 < taps) edge2 += x * load<f32>(filter + (<usize>lag << 2), 8);
      if (lag + 3 < taps) edge3 += x * load<f32>(filter + (<usize>lag << 2), 12);
    }
  }
  put(to, edge0 + sumLanes(y0), adds);
  if (count > 1) put(to + stride, edge1 + sumLanes(y1), adds);
  if (count > 2) put(to + 2 * stride, edge2 + sumLanes(y2), adds);
  if (count > 3) put(to + 3 * stride, edge3 + sumLanes(y3), adds);
}

@inline
function put(to: usize, sum: f32, adds: bool): void {
  store<f32>(to, adds ? load<f32>(to) + sum : sum);
}
