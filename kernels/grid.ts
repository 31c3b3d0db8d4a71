// Grids for kernels whose work is the rows of a step, and how such a kernel learns their number.
import type { StepShape } from "./control.ts";
import type { Grid } from "./gpu_op.ts";
import type { Rows } from "./graph.ts";
import type { StepLimits } from "./step.ts";

/** Most workgroups along one dimension of a grid, in every WebGPU. */
const MAX_WORKGROUPS = 65535;

/** A grid of `count` workgroups for kernels that compute their number as y * 65535 + x; undefined = nothing to do. */
export function foldGrid(count: number): Grid | undefined {
  if (count === 0) return undefined;
  return [Math.min(count, MAX_WORKGROUPS), Math.ceil(count / MAX_WORKGROUPS), 1];
}

/** A grid for kernels of 64 threads, one per four elements: x along a row of `rowQuads`, rows as z * 65535 + y. */
export function quadGrid(rowQuads: number, rows: number): Grid | undefined {
  return rowGrid(Math.ceil(rowQuads / 64), rows);
}

/** A grid of `across` workgroups for each row: x within the row, rows as z * 65535 + y. */
export function rowGrid(across: number, rows: number): Grid | undefined {
  const folded = foldGrid(rows);
  return folded && [across, folded[0], folded[1]];
}

/** Word of the control buffer's header that says how many such rows a step has. */
export function numRowsWord(rows: Rows): number {
  return rows === "tokens" ? 0 : 2;
}

/** How many such rows a step has. */
export function rowsInStep(rows: Rows, shape: StepShape): number {
  return rows === "tokens" ? shape.numTokens : shape.numSamples;
}

/** How many such rows a step has at most. */
export function mostRows(rows: Rows, { maxTokens, maxSamples }: StepLimits): number {
  return rows === "tokens" ? maxTokens : maxSamples;
}
