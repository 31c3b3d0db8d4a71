// rotary on the CPU.
import {
  HEAD_SIZE,
  INPUT,
  INPUT_STRIDE,
  KIND,
  NUM_HEADS,
  OUTPUT,
  OUTPUT_STRIDE,
  ROTARY,
  ROWS,
  ROWS_PER_TASK,
  TURNED,
  TURNS,
  TURNS_STRIDE,
} from "../cpu_layout.ts";
import { type CpuCall, type CpuContext, rowsPerTask, rowStride } from "../cpu_op.ts";
import type { RotaryNode } from "../graph.ts";

export function lowerRotary(node: RotaryNode, context: CpuContext): CpuCall[] {
  const input = context.activation(node.input), output = context.activation(node.output);
  return [{
    [KIND]: ROTARY,
    [ROWS]: 0,
    [ROWS_PER_TASK]: rowsPerTask(node.input.width),
    [INPUT]: input.address,
    [INPUT_STRIDE]: input.stride,
    [OUTPUT]: output.address,
    [OUTPUT_STRIDE]: output.stride,
    [TURNS]: context.rows(node.turns),
    [TURNS_STRIDE]: rowStride(node.turns.shape[1]),
    [NUM_HEADS]: node.numHeads,
    [HEAD_SIZE]: node.headSize,
    [TURNED]: node.turns.shape[1],
  }];
}
