// Linear on the CPU. With an int8 weight either the rows are made integers, or the weight is made f32 panel by panel.
import {
  ACTIVATION,
  BIAS,
  IN_WIDTH,
  INPUT,
  INPUT_STRIDE,
  KIND,
  LINEAR_F32,
  LINEAR_I8,
  NUM_PANELS,
  OUTPUT,
  OUTPUT_STRIDE,
  PANEL,
  QUANTIZE_ROWS,
  RESIDUAL,
  ROW_SCALES,
  ROWS,
  ROWS_PER_TASK,
  WEIGHT,
  WEIGHT_SCALES,
  WEIGHT_SUMS,
} from "../cpu_layout.ts";
import { type CpuCall, type CpuContext, rowsPerTask } from "../cpu_op.ts";
import type { LinearNode } from "../graph.ts";

const ACTIVATIONS = { gelu_tanh: 1, gelu_erf: 2 };

export function lowerLinear(node: LinearNode, context: CpuContext): CpuCall[] {
  const weight = context.matrix(node.weight);
  const input = context.activation(node.input), output = context.activation(node.output);
  const numPanels = Math.ceil(weight.rows / PANEL);
  const rows = { [ROWS]: node.input.rows === "tokens" ? 0 : 1 };
  const product: CpuCall = {
    ...rows,
    [OUTPUT]: output.address,
    [OUTPUT_STRIDE]: output.stride,
    [WEIGHT]: weight.address,
    [IN_WIDTH]: weight.columns,
    [NUM_PANELS]: numPanels,
    [BIAS]: node.bias ? context.rows(node.bias) : 0,
    [ACTIVATION]: node.activation ? ACTIVATIONS[node.activation] : 0,
    [RESIDUAL]: node.residual ? context.activation(node.residual).address : 0,
  };
  if (weight.type === "f32" || context.int8Form === "floats") {
    if (weight.type === "i8") context.needScratch(Math.ceil(weight.columns / 4) * 4 * PANEL * 4);
    return [{
      ...product,
      [KIND]: LINEAR_F32,
      [INPUT]: input.address,
      [INPUT_STRIDE]: input.stride,
      [WEIGHT_SCALES]: weight.scales,
    }];
  }
  const limbs = context.limbs(weight.columns);
  return [
    {
      ...rows,
      [KIND]: QUANTIZE_ROWS,
      [ROWS_PER_TASK]: rowsPerTask(weight.columns),
      [INPUT]: input.address,
      [INPUT_STRIDE]: input.stride,
      [IN_WIDTH]: weight.columns,
      [OUTPUT]: limbs.address,
      [OUTPUT_STRIDE]: limbs.stride,
      [ROW_SCALES]: limbs.scales,
    },
    {
      ...product,
      [KIND]: LINEAR_I8,
      [INPUT]: limbs.address,
      [INPUT_STRIDE]: limbs.stride,
      [ROW_SCALES]: limbs.scales,
      [WEIGHT_SCALES]: weight.scales,
      [WEIGHT_SUMS]: weight.sums,
    },
  ];
}
