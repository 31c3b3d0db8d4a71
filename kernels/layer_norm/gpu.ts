// LayerNorm on the GPU: one workgroup a row, any width. Steps of one row leave it to the linears that read it, where they
// can.
import { type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { LayerNormNode } from "../graph.ts";
import { foldGrid, numRowsWord, rowsInStep } from "../grid.ts";
import { MOST_NORMALISED_ROWS } from "../linear/gpu.ts";
import { specialise } from "../wgsl.ts";
import code from "./layer_norm.wgsl" with { type: "text" };

export function lowerLayerNorm(node: LayerNormNode, context: GpuContext): KernelCall[] {
  const { rows, width } = node.input;
  const fewestRows = context.fusedNorm(node.output) ? MOST_NORMALISED_ROWS + 1 : 1;
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
    grid: (shape) => rowsInStep(rows, shape) < fewestRows ? undefined : foldGrid(rowsInStep(rows, shape)),
  }];
}
