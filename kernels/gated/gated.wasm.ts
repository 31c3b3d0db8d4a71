// gated on the CPU: out = in * gate / (1 + e^-gate).
//   in, gate, out  f32 [rows][stride]
//   task           one row
// Reference: gatedReference. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import { GATE, GATE_STRIDE, IN_WIDTH, INPUT, INPUT_STRIDE, OUTPUT, OUTPUT_STRIDE } from "../cpu_layout";
import { silu4 } from "../cpu_math.wasm";
import { rowAt, word } from "../cpu_step.wasm";

export function gated(call: usize, row: u32): void {
  const input = rowAt(call, INPUT, INPUT_STRIDE, row), gate = rowAt(call, GATE, GATE_STRIDE, row);
  const output = rowAt(call, OUTPUT, OUTPUT_STRIDE, row), bytes = <usize>word(call, IN_WIDTH) << 2;
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    v128.store(output + at, f32x4.mul(v128.load(input + at), silu4(v128.load(gate + at))));
  }
  for (; at < bytes; at += 4) {
    const weight = f32x4.extract_lane(silu4(f32x4.splat(load<f32>(gate + at))), 0);
    store<f32>(output + at, load<f32>(input + at) * weight);
  }
}
