// What every CPU kernel asks of its call and of the step. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import { NUM_SAMPLES, NUM_TOKENS, ROWS } from "./cpu_layout";

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
