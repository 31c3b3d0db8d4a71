// Embedding on the CPU: output[r] = table[tokenIds[r]] + positionTable[positions[r]].
//   table  packed as a linear's weight (linear/linear.wasm.ts), since a tied head reads the same
//   out    f32 [tokens][stride]
//   task   one row. Reference: embedding() in reference.ts
// AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import {
  IN_WIDTH,
  OUTPUT,
  OUTPUT_STRIDE,
  PANEL,
  PANEL_BYTES,
  POSITION_TABLE,
  POSITIONS,
  TABLE_IS_I8,
  TOKEN_IDS,
  WEIGHT,
  WEIGHT_SCALES,
} from "../cpu_layout";
import { ceilDiv, rowAt, word } from "../cpu_step.wasm";

export function embedding(call: usize, row: u32): void {
  const width = word(call, IN_WIDTH);
  const output = rowAt(call, OUTPUT, OUTPUT_STRIDE, row);
  const id = load<u32>(<usize>load<u32>(TOKEN_IDS) + (<usize>row << 2));
  if (word(call, TABLE_IS_I8)) copyI8(call, id, width, output);
  else copyF32(call, id, width, output);
  if (!word(call, POSITION_TABLE)) return;
  const position = load<u32>(<usize>load<u32>(POSITIONS) + (<usize>row << 2));
  const positions = rowAt(call, POSITION_TABLE, OUTPUT_STRIDE, position);
  for (let at: usize = 0, end = <usize>width << 2; at < end; at += 4) {
    store<f32>(output + at, load<f32>(output + at) + load<f32>(positions + at));
  }
}

function copyI8(call: usize, id: u32, width: u32, output: usize): void {
  const groups = ceilDiv(width, 4);
  const scale = load<f32>(<usize>word(call, WEIGHT_SCALES) + (<usize>id << 2));
  let from = <usize>word(call, WEIGHT) + <usize>(id / PANEL) * <usize>groups * PANEL_BYTES + (<usize>(id % PANEL) << 2);
  for (let column: u32 = 0; column < width; column++) {
    const value = <f32>load<i8>(from + <usize>(column & 3));
    store<f32>(output + (<usize>column << 2), value * scale);
    if ((column & 3) == 3) from += PANEL_BYTES;
  }
}

function copyF32(call: usize, id: u32, width: u32, output: usize): void {
  let from = <usize>word(call, WEIGHT) + <usize>(id / PANEL) * <usize>width * PANEL_BYTES + (<usize>(id % PANEL) << 2);
  for (let at: usize = 0, end = <usize>width << 2; at < end; at += 4, from += PANEL_BYTES) {
    store<f32>(output + at, load<f32>(from));
  }
}
