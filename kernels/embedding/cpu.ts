// Embedding on the CPU.
import {
  EMBEDDING,
  IN_WIDTH,
  KIND,
  OUTPUT,
  OUTPUT_STRIDE,
  POSITION_TABLE,
  ROWS,
  ROWS_PER_TASK,
  TABLE_IS_I8,
  WEIGHT,
  WEIGHT_SCALES,
} from "../cpu_layout.ts";
import { type CpuCall, type CpuContext, rowsPerTask } from "../cpu_op.ts";
import type { EmbeddingNode } from "../graph.ts";

export function lowerEmbedding(node: EmbeddingNode, context: CpuContext): CpuCall[] {
  const table = context.matrix(node.table), output = context.activation(node.output);
  return [{
    [KIND]: EMBEDDING,
    [ROWS]: 0,
    [ROWS_PER_TASK]: rowsPerTask(node.output.width),
    [OUTPUT]: output.address,
    [OUTPUT_STRIDE]: output.stride,
    [IN_WIDTH]: node.output.width,
    [WEIGHT]: table.address,
    [WEIGHT_SCALES]: table.scales,
    [TABLE_IS_I8]: table.type === "i8" ? 1 : 0,
    [POSITION_TABLE]: node.positionTable ? context.rows(node.positionTable) : 0,
  }];
}
