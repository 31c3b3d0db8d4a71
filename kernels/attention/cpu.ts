// Paged attention on the CPU: store the new K and V, then attend.
import {
  ATTENTION,
  ATTENTION_WINDOW,
  HEAD_SIZE,
  INPUT,
  INPUT_STRIDE,
  KEYS,
  KIND,
  MOST_QUERY_ROWS,
  NUM_HEADS,
  NUM_KV_HEADS,
  OUTPUT,
  OUTPUT_STRIDE,
  ROWS,
  ROWS_PER_TASK,
  SCORE_SCALE,
  SCORE_STRIDE,
  STORE_KV,
  VALUE_STRIDE,
  VALUES,
} from "../cpu_layout.ts";
import { type CpuCall, type CpuContext, floatBits, rowsPerTask } from "../cpu_op.ts";
import type { AttentionNode, KvLayer } from "../graph.ts";
import { BLOCK_SIZE } from "../step.ts";

/** More keys than any context has. */
const NO_WINDOW = 0x7fffffff;

export function lowerAttention(node: AttentionNode, context: CpuContext): CpuCall[] {
  const input = context.activation(node.input), output = context.activation(node.output);
  const cache = context.kvCache(node.layer);
  // Queries, sums and scores of a task's rows.
  context.needScratch(MOST_QUERY_ROWS * 4 * (valueStride(node) + 1 + context.scoreStride));
  const shape = {
    [ROWS]: 0,
    [INPUT]: input.address,
    [INPUT_STRIDE]: input.stride,
    [KEYS]: cache.keys,
    [VALUES]: cache.values,
    [NUM_HEADS]: node.numHeads,
    [NUM_KV_HEADS]: node.numKvHeads,
    [HEAD_SIZE]: node.headSize,
    [VALUE_STRIDE]: valueStride(node),
  };
  return [
    { ...shape, [KIND]: STORE_KV, [ROWS_PER_TASK]: rowsPerTask(2 * node.numKvHeads * node.headSize) },
    {
      ...shape,
      [KIND]: ATTENTION,
      [OUTPUT]: output.address,
      [OUTPUT_STRIDE]: output.stride,
      [SCORE_SCALE]: floatBits(node.scale),
      [SCORE_STRIDE]: context.scoreStride,
      [ATTENTION_WINDOW]: node.window ?? NO_WINDOW,
    },
  ];
}

/** Bytes of one block's keys, and of its values. */
export function kvBlockBytes(layer: KvLayer): { readonly keys: number; readonly values: number } {
  const rows = layer.numKvHeads * BLOCK_SIZE * 4;
  return { keys: rows * layer.headSize, values: rows * valueStride(layer) };
}

/** Columns of values are taken eight at a time. */
function valueStride({ headSize }: Pick<KvLayer, "headSize">): number {
  return Math.ceil(headSize / 8) * 8;
}
