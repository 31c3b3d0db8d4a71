// LayerNorm on the GPU: one workgroup a row, any width.
import { type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { LayerNormNode } from "../graph.ts";
import { foldGrid, numRowsWord, rowsInStep } from "../grid.ts";
import { specialise } from "../wgsl.ts";
import code from "./layer_norm.wgsl" with { type: "text" };

export function lowerLayerNorm(node: LayerNormNode, context: GpuContext): KernelCall[] {
  const { rows, width } = node.input;
  return [{
    label: `layerNorm ${node.scale.name}`,
    code: specialise(code, {
      NUM_ROWS: numRowsWord(rows),
      WIDTH: width,
      STRIDE: rowStride(width),
      EPSILON: `f32(${node.epsilon})`,
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: context.vector(node.scale), access: "read" },
      { buffer: context.vector(node.bias), access: "read" },
      { buffer: context.activation(node.output), access: "readWrite" },
    ],
    grid: (shape) => foldGrid(rowsInStep(rows, shape)),
  }];
}
