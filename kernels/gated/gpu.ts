// gated on the GPU: a dispatch between two products.
import { type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { GatedNode } from "../graph.ts";
import { numRowsWord, quadGrid, rowsInStep } from "../grid.ts";
import { readOperands } from "../operands.ts";
import { specialise } from "../wgsl.ts";
import { movingWork, rowsOf } from "../work.ts";
import code from "./gated.wgsl" with { type: "text" };

export function lowerGated(node: GatedNode, context: GpuContext): KernelCall[] {
  const { input, gate, output } = node;
  const operands = readOperands({ x: input, gate }, context, 2);
  return [{
    label: "gated",
    code: specialise(code, {
      NUM_ROWS: numRowsWord(output.rows),
      WIDTH: output.width,
      STRIDE: rowStride(output.width),
    }, { operands: operands.code }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(output), access: "readWrite" },
      ...operands.bindings,
    ],
    work: movingWork((batch) => rowsOf(output, batch) * (operands.rowBytes + 4 * output.width)),
    grid: (shape) => {
      const rows = rowsInStep(output.rows, shape);
      return rows > 0 ? quadGrid(output.width, rows) : undefined;
    },
  }];
}
