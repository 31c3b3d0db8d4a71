// Paged attention on the GPU: store the new K and V, then attend. Three forms: tiles of tokens for any step, and in the
// fast profile one on matrix units for the same, where the device has them, and one split over the keys for steps that
// only decode. The safe profile keeps to tiles, so that a row's sums never depend on its batch.
import type { GpuCaps, Profile } from "../../device/caps.ts";
import type { GpuContext, KernelCall } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { numRowsWord, rowGrid } from "../grid.ts";
import { specialise } from "../wgsl.ts";
import { kvBytes, movingWork } from "../work.ts";
import { attentionConstants, cacheSnippet } from "./access.ts";
import { kvRowElements } from "./kv_layout.ts";
import { matrixCall, matrixTileTokens } from "./matrix.ts";
import { splitCalls, splitDuties } from "./split.ts";
import { storeInt8Call } from "./store_int8.ts";
import storeCode from "./store.wgsl" with { type: "text" };
import { tiledCall, tiledTileTokens } from "./tiled.ts";

/** Tokens per attention tile that the node's forms do best with; at most a block. */
export function attentionTileTokens(node: AttentionNode, profile: Profile, caps: GpuCaps): number {
  return matrixTileTokens(node, profile, caps) ?? tiledTileTokens(node);
}

/** @throws {RangeError} when the head is larger than the kernels can tile. */
export function lowerAttention(node: AttentionNode, context: GpuContext): KernelCall[] {
  const { attends, stores } = splitDuties(node, context);
  const matrix = attends ? matrixCall(node, context) : undefined;
  return [
    storeCall(node, context, { decodes: !stores }),
    matrix ?? tiledCall(node, context, { decodes: !attends }),
    ...splitCalls(node, context),
  ];
}

const PACK_WORD = {
  f32: `fn packWord(row: u32, first: u32, word: u32) -> u32 {
    return bitcast<u32>(element(row, first, word));
}`,
  // Beyond f16's range packing would give anything at all.
  f16: `fn packWord(row: u32, first: u32, word: u32) -> u32 {
    let pair = vec2<f32>(element(row, first, 2u * word), element(row, first, 2u * word + 1u));
    return pack2x16float(clamp(pair, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
}`,
};

/** Without `decodes` it leaves steps of single tokens to the split form. */
function storeCall(
  node: AttentionNode,
  context: GpuContext,
  { decodes }: { decodes: boolean },
): KernelCall {
  const cache = context.kvCache(node.layer);
  if (cache.type === "i8") return storeInt8Call(node, context);
  const width = node.numKvHeads * node.headSize;
  const queryWidth = node.numHeads * node.headSize;
  const perWord = cache.type === "f16" ? 2 : 1, wordsPerRow = kvRowElements(node) / perWord;
  const constants = {
    ...attentionConstants(node, context),
    KV_WIDTH: width,
    WORDS_PER_ROW: wordsPerRow,
    PER_WORD: perWord,
    FIRST_KEY: queryWidth,
    FIRST_VALUE: queryWidth + width,
    NUM_TOKENS: numRowsWord("tokens"),
  };
  return {
    label: `attention ${node.layer} store`,
    code: specialise(storeCode, constants, {
      packWord: PACK_WORD[cache.type],
      cache: cacheSnippet(node, context),
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: cache.key, access: "readWrite" },
      { buffer: cache.value, access: "readWrite" },
    ],
    work: movingWork(({ tokenIds }) => tokenIds.length * (8 * width + kvBytes(node, context))),
    grid: ({ numTokens, maxQueryLength }) => {
      if (numTokens === 0 || (maxQueryLength === 1 && !decodes)) return undefined;
      return rowGrid(Math.ceil(wordsPerRow / 64), numTokens);
    },
  };
}
