// gatherRows on the CPU.
import {
  GATHER_ROWS,
  INPUT,
  INPUT_STRIDE,
  KIND,
  OUTPUT,
  OUTPUT_STRIDE,
  ROWS,
  ROWS_PER_TASK,
} from "../cpu_layout.ts";
import { type CpuCall, type CpuContext, rowsPerTask } from "../cpu_op.ts";
import type { GatherRowsNode } from "../graph.ts";

export function lowerGatherRows(node: GatherRowsNode, context: CpuContext): CpuCall[] {
  const input = context.activation(node.input), output = context.activation(node.output);
  return [{
    [KIND]: GATHER_ROWS,
    [ROWS]: 1,
    [ROWS_PER_TASK]: rowsPerTask(node.input.width),
    [INPUT]: input.address,
    [INPUT_STRIDE]: input.stride,
    [OUTPUT]: output.address,
    [OUTPUT_STRIDE]: output.stride,
  }];
}
