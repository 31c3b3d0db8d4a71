// Lowers the long convolution of steps of single tokens: nothing is left of it but lag 0 and what is carried.
import { type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { LongConvolutionNode } from "../graph.ts";
import { readOperands } from "../operands.ts";
import { specialise } from "../wgsl.ts";
import { movingWork } from "../work.ts";
import singleCode from "./single.wgsl" with { type: "text" };

export function singleCall(node: LongConvolutionNode, context: GpuContext): KernelCall {
  const { filter, before, after, carried, input: { width } } = node, [, taps] = filter.shape;
  const operands = readOperands({ x: node.input, before, after, carried }, context, 2);
  const signal = `newest[channel] * x(row, channel)${before ? " * before(row, channel)" : ""}`;
  const sum = carried ? `(${signal} + carried(row, channel))` : signal;
  const newest = () => {
    const all = context.filter(filter);
    return Float32Array.from({ length: width }, (_, channel) => all[channel * taps]);
  };
  return {
    label: `longConvolution ${filter.name}, single tokens`,
    code: specialise(singleCode, { WIDTH: width }, {
      operands: operands.code,
      store: `y[row * ${rowStride(width)}u + channel] = ${after ? `after(row, channel) * ${sum}` : sum};`,
    }),
    bindings: [
      { buffer: context.activation(node.output), access: "readWrite" },
      { buffer: context.table(`${filter.name}, lag 0`, newest), access: "read" },
      ...operands.bindings,
    ],
    work: movingWork(({ tokenIds }) => tokenIds.length * (operands.rowBytes + 4 * width), () => 4 * width),
    grid: ({ numTokens }) => numTokens > 0 ? [Math.ceil(width / 64), numTokens, 1] : undefined,
  };
}
