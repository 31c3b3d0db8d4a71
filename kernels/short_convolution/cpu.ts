// Short causal convolutions on the CPU.
import {
  BIAS,
  FILTER,
  FILTER_STRIDE,
  GATE,
  GATE_STRIDE,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  KIND,
  NUM_TAPS,
  OUTPUT,
  OUTPUT_STRIDE,
  SHORT_CONVOLUTION,
  STATES,
} from "../cpu_layout.ts";
import { columnsCall, type CpuCall, type CpuContext, rowStride } from "../cpu_op.ts";
import type { ShortConvolutionNode } from "../graph.ts";

export function lowerShortConvolution(node: ShortConvolutionNode, context: CpuContext): CpuCall[] {
  const output = context.activation(node.output);
  return [{
    [KIND]: SHORT_CONVOLUTION,
    ...columnsCall(node.input, INPUT, INPUT_STRIDE, context),
    ...columnsCall(node.gate, GATE, GATE_STRIDE, context),
    [OUTPUT]: output.address,
    [OUTPUT_STRIDE]: output.stride,
    [IN_WIDTH]: node.input.width,
    [FILTER]: context.rows(node.filter),
    [FILTER_STRIDE]: rowStride(node.input.width),
    [NUM_TAPS]: node.filter.shape[0],
    [BIAS]: node.bias ? context.rows(node.bias) : 0,
    [STATES]: context.recurrentState(node.state),
  }];
}
