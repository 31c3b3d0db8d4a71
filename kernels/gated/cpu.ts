// gated on the CPU.
import {
  GATE,
  GATE_STRIDE,
  GATED,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  KIND,
  OUTPUT,
  OUTPUT_STRIDE,
  ROWS,
  ROWS_PER_TASK,
} from "../cpu_layout.ts";
import { columnsCall, type CpuCall, type CpuContext, rowsPerTask } from "../cpu_op.ts";
import type { GatedNode } from "../graph.ts";

export function lowerGated({ input, gate, output: value }: GatedNode, context: CpuContext): CpuCall[] {
  const output = context.activation(value);
  return [{
    [KIND]: GATED,
    [ROWS]: value.rows === "tokens" ? 0 : 1,
    [ROWS_PER_TASK]: rowsPerTask(value.width),
    ...columnsCall(input, INPUT, INPUT_STRIDE, context),
    ...columnsCall(gate, GATE, GATE_STRIDE, context),
    [IN_WIDTH]: value.width,
    [OUTPUT]: output.address,
    [OUTPUT_STRIDE]: output.stride,
  }];
}
