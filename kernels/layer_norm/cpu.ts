// LayerNorm on the CPU.
import {
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  KIND,
  LAYER_NORM,
  NORM_BIAS,
  NORM_EPSILON,
  NORM_SCALE,
  OUTPUT,
  OUTPUT_STRIDE,
  ROWS,
  ROWS_PER_TASK,
} from "../cpu_layout.ts";
import { type CpuCall, type CpuContext, floatBits, rowsPerTask } from "../cpu_op.ts";
import type { LayerNormNode } from "../graph.ts";

export function lowerLayerNorm(node: LayerNormNode, context: CpuContext): CpuCall[] {
  const input = context.activation(node.input), output = context.activation(node.output);
  return [{
    [KIND]: LAYER_NORM,
    [ROWS]: node.input.rows === "tokens" ? 0 : 1,
    [ROWS_PER_TASK]: rowsPerTask(node.input.width),
    [INPUT]: input.address,
    [INPUT_STRIDE]: input.stride,
    [OUTPUT]: output.address,
    [OUTPUT_STRIDE]: output.stride,
    [IN_WIDTH]: node.input.width,
    [NORM_SCALE]: context.rows(node.scale),
    [NORM_BIAS]: node.bias ? context.rows(node.bias) : 0,
    [NORM_EPSILON]: floatBits(node.epsilon),
  }];
}
