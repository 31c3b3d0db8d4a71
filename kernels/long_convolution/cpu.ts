// Long convolutions on the CPU: directly, which takes time by the square of a sequence's length.
import {
  BEFORE,
  BEFORE_STRIDE,
  CARRIED,
  CARRIED_STRIDE,
  FILTER,
  FILTER_STRIDE,
  GATE,
  GATE_STRIDE,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  KIND,
  LONG_CONVOLUTION,
  NUM_TAPS,
  OUTPUT,
  OUTPUT_STRIDE,
} from "../cpu_layout.ts";
import { columnsCall, type CpuCall, type CpuContext, rowStride } from "../cpu_op.ts";
import type { LongConvolutionNode } from "../graph.ts";

export function lowerLongConvolution(node: LongConvolutionNode, context: CpuContext): CpuCall[] {
  const output = context.activation(node.output), [, taps] = node.filter.shape;
  // Four channels' inputs and taps, and three zeros before lag 0.
  context.needScratch(16 * (2 * context.maxQueryLength + 6));
  return [{
    [KIND]: LONG_CONVOLUTION,
    ...columnsCall(node.input, INPUT, INPUT_STRIDE, context),
    ...columnsCall(node.before, BEFORE, BEFORE_STRIDE, context),
    ...columnsCall(node.after, GATE, GATE_STRIDE, context),
    ...columnsCall(node.carried, CARRIED, CARRIED_STRIDE, context),
    [OUTPUT]: output.address,
    [OUTPUT_STRIDE]: output.stride,
    [IN_WIDTH]: node.input.width,
    [FILTER]: context.rows(node.filter),
    [FILTER_STRIDE]: rowStride(taps),
    [NUM_TAPS]: taps,
  }];
}
