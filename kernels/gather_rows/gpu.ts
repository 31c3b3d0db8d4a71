// gatherRows on the GPU: a copy of the rows that the step's samples name.
import { controlConstants } from "../control.ts";
import { type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { GatherRowsNode } from "../graph.ts";
import { quadGrid } from "../grid.ts";
import { specialise } from "../wgsl.ts";
import { bytesOfValues, movingWork } from "../work.ts";
import code from "./gather_rows.wgsl" with { type: "text" };

export function lowerGatherRows(node: GatherRowsNode, context: GpuContext): KernelCall[] {
  const rowQuads = rowStride(node.input.width) / 4;
  return [{
    label: "gatherRows",
    code: specialise(code, { ...controlConstants(context.layout), ROW_QUADS: rowQuads }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: context.activation(node.output), access: "readWrite" },
    ],
    work: movingWork(bytesOfValues([node.output, node.output], context)),
    grid: (shape) => quadGrid(rowQuads, shape.numSamples),
  }];
}
