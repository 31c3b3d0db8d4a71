// rotary on the GPU: a dispatch before attention.
import { controlConstants } from "../control.ts";
import { type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { RotaryNode } from "../graph.ts";
import { quadGrid } from "../grid.ts";
import { specialise } from "../wgsl.ts";
import { bytesOfValues, movingWork } from "../work.ts";
import code from "./rotary.wgsl" with { type: "text" };

export function lowerRotary(node: RotaryNode, context: GpuContext): KernelCall[] {
  const { width } = node.input;
  return [{
    label: "rotary",
    code: specialise(code, {
      ...controlConstants(context.layout),
      WIDTH: width,
      STRIDE: rowStride(width),
      HEADS: node.numHeads,
      HEAD_SIZE: node.headSize,
      TURNED: node.turns.shape[1],
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: context.vector(node.turns), access: "read" },
      { buffer: context.activation(node.output), access: "readWrite" },
    ],
    work: movingWork(bytesOfValues([node.input, node.output], context)),
    grid: ({ numTokens }) => numTokens > 0 ? quadGrid(width, numTokens) : undefined,
  }];
}
