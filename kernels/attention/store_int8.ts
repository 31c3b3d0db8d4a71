// Lowers the store of new keys and values to a cache in int8 (store_int8.wgsl).
import { controlConstants } from "../control.ts";
import { type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { numRowsWord, rowGrid } from "../grid.ts";
import { kvBytes, movingWork } from "../work.ts";
import { specialise } from "../wgsl.ts";
import { INT8_GROUP, int8HeadWords } from "./kv_layout.ts";
import storeInt8Code from "./store_int8.wgsl" with { type: "text" };

export function storeInt8Call(node: AttentionNode, context: GpuContext): KernelCall {
  const cache = context.kvCache(node.layer);
  return {
    label: `attention ${node.layer} store`,
    code: specialise(storeInt8Code, {
      ...controlConstants(context.layout),
      INPUT_STRIDE: rowStride(node.input.width),
      NUM_KV_HEADS: node.numKvHeads,
      HEAD_SIZE: node.headSize,
      HEAD_WORDS: int8HeadWords(node).all,
      HEAD_SCALES: int8HeadWords(node).scales,
      GROUP_QUADS: INT8_GROUP / 4,
      FIRST_KEY: node.numHeads * node.headSize,
      NUM_TOKENS: numRowsWord("tokens"),
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: cache.key, access: "readWrite" },
      { buffer: cache.value, access: "readWrite" },
    ],
    work: movingWork(({ tokenIds }) =>
      tokenIds.length * (8 * node.numKvHeads * node.headSize + kvBytes(node, context))
    ),
    grid: ({ numTokens }) => rowGrid(2 * node.numKvHeads, numTokens),
  };
}
