// rotary on the CPU: out = in with pairs of columns turned by position.
//   in, out  f32 [tokens][stride]
//   turns    f32 [positions][TURNS_STRIDE]: cosine and sine of each pair
//   task     one row
// Reference: rotaryReference. AssemblyScript; compiled into cpu.wasm (cpu.wasm.ts).
import {
  HEAD_SIZE,
  INPUT,
  INPUT_STRIDE,
  NUM_HEADS,
  OUTPUT,
  OUTPUT_STRIDE,
  POSITIONS,
  TURNED,
  TURNS,
  TURNS_STRIDE,
} from "../cpu_layout";
import { elementOf, rowAt, word } from "../cpu_step.wasm";

export function rotary(call: usize, row: u32): void {
  const input = rowAt(call, INPUT, INPUT_STRIDE, row), output = rowAt(call, OUTPUT, OUTPUT_STRIDE, row);
  const turns = rowAt(call, TURNS, TURNS_STRIDE, elementOf(POSITIONS, row));
  const half = <usize>(word(call, TURNED) >> 1) << 2, headBytes = <usize>word(call, HEAD_SIZE) << 2;
  memory.copy(output, input, <usize>word(call, INPUT_STRIDE) << 2);
  for (let head: usize = 0, heads = <usize>word(call, NUM_HEADS); head < heads; head++) {
    const first = head * headBytes;
    for (let j: usize = 0; j < half; j += 4) {
      const a = load<f32>(input + first + j), b = load<f32>(input + first + half + j);
      const cos = load<f32>(turns + 2 * j), sin = load<f32>(turns + 2 * j, 4);
      store<f32>(output + first + j, a * cos - b * sin);
      store<f32>(output + first + half + j, b * cos + a * sin);
    }
  }
}
