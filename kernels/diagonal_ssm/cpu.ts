// Diagonal state-space models on the CPU.
import {
  DIAGONAL_SSM,
  GATE,
  GATE_STRIDE,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  KIND,
  MODE_STRIDE,
  NUM_MODES,
  OUTPUT,
  OUTPUT_STRIDE,
  POLES,
  RESIDUES,
  SKIP,
  STATES,
} from "../cpu_layout.ts";
import { columnsCall, type CpuCall, type CpuContext, rowStride } from "../cpu_op.ts";
import type { DiagonalSsmNode } from "../graph.ts";

export function lowerDiagonalSsm(node: DiagonalSsmNode, context: CpuContext): CpuCall[] {
  const output = context.activation(node.output);
  // Real and imaginary parts of states, poles and residues, in whole vectors of four modes.
  context.needScratch(6 * 4 * 4 * Math.ceil(node.modes / 4));
  return [{
    [KIND]: DIAGONAL_SSM,
    ...columnsCall(node.input, INPUT, INPUT_STRIDE, context),
    ...columnsCall(node.gate, GATE, GATE_STRIDE, context),
    [OUTPUT]: output.address,
    [OUTPUT_STRIDE]: output.stride,
    [IN_WIDTH]: node.input.width,
    [POLES]: context.rows(node.poles),
    [RESIDUES]: context.rows(node.residues),
    [MODE_STRIDE]: rowStride(2 * node.modes),
    [NUM_MODES]: node.modes,
    [SKIP]: node.skip ? context.rows(node.skip) : 0,
    [STATES]: context.recurrentState(node.state),
  }];
}
