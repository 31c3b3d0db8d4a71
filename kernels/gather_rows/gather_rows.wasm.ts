// The rows whose next token is wanted: output[s] = input[sampleRows[s]].
//   in   f32 [tokens][stride], out f32 [samples][stride]
//   task one row. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import { INPUT, INPUT_STRIDE, OUTPUT, OUTPUT_STRIDE, SAMPLE_ROWS } from "../cpu_layout";
import { rowAt, word } from "../cpu_step.wasm";

export function gatherRows(call: usize, sample: u32): void {
  const row = load<u32>(<usize>load<u32>(SAMPLE_ROWS) + (<usize>sample << 2));
  const bytes = <usize>word(call, INPUT_STRIDE) << 2;
  memory.copy(rowAt(call, OUTPUT, OUTPUT_STRIDE, sample), rowAt(call, INPUT, INPUT_STRIDE, row), bytes);
}
