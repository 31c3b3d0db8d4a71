// What every CPU kernel asks of its call and of the step. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import {
  IN_WIDTH,
  NUM_SAMPLES,
  NUM_SEQUENCES,
  NUM_TOKENS,
  QUERY_START,
  ROWS,
  SCRATCH,
  SCRATCH_BYTES,
} from "./cpu_layout";

/** A field of a call. */
@inline
export function word(call: usize, field: usize): u32 {
  return load<u32>(call + field);
}

/** Rows of the call's output in this step. */
@inline
export function numRows(call: usize): u32 {
  return word(call, ROWS) == 0 ? load<u32>(NUM_TOKENS) : load<u32>(NUM_SAMPLES);
}

/** Address of row `row` of a matrix whose address and stride (in floats) are two fields of the call. */
@inline
export function rowAt(call: usize, matrix: usize, stride: usize, row: u32): usize {
  return <usize>word(call, matrix) + <usize>row * (<usize>word(call, stride) << 2);
}

@inline
export function ceilDiv(a: u32, b: u32): u32 {
  return (a + b - 1) / b;
}

/** Tasks of a call whose tasks are so many channels of a sequence; task t is of sequence t % numSequences. */
@inline
export function channelTasks(call: usize, channels: u32): u32 {
  return load<u32>(NUM_SEQUENCES) * ceilDiv(word(call, IN_WIDTH), channels);
}

/** First row of sequence `s`, or, of that behind the last, the number of rows. */
@inline
export function firstRowOf(s: u32): u32 {
  return load<u32>(<usize>load<u32>(QUERY_START) + (<usize>s << 2));
}

/** Element `s` of the array of u32 that header field `field` points to. */
@inline
export function elementOf(field: usize, s: u32): u32 {
  return load<u32>(<usize>load<u32>(field) + (<usize>s << 2));
}

/** The thread's piece of working memory. */
@inline
export function scratchOf(thread: u32): usize {
  return <usize>load<u32>(SCRATCH) + <usize>thread * <usize>load<u32>(SCRATCH_BYTES);
}
