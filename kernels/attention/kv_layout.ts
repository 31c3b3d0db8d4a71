// How one token's K or V lies in the paged cache of a layer.
import type { GpuCaps, Profile } from "../../device/caps.ts";
import type { AttentionNode, KvLayer } from "../graph.ts";
import { BLOCK_SIZE } from "../step.ts";

/** i8: every INT8_GROUP columns of a head have a scale of their own, f32; a head's scales come before its elements. */
export type KvType = "f32" | "f16" | "i8";

/**
 * Elements from one token's row to the next, f32 or f16: all KV heads side by side, rounded up to an even number so that
 * rows of f16 begin at whole words.
 */
export function kvRowElements(layer: KvLayer): number {
  const elements = layer.numKvHeads * layer.headSize;
  return elements + elements % 2;
}

/**
 * The order of a block's elements on a GPU. `rows`: token after token. `tiles`: tiles of BLOCK_SIZE columns, each token
 * after token, so that a fragment of keys or values is one piece of memory and not a line of the cache for every token.
 */
export type KvOrder = "rows" | "tiles";

/** Tiles where heads are whole tiles and a group's heads whole fragments: there single tokens attend on matrix units. */
export function kvOrder(
  { numHeads, numKvHeads, headSize }: AttentionNode,
  type: KvType,
  profile: Profile,
  { matrixFragment }: GpuCaps,
): KvOrder {
  if (profile !== "fast" || type !== "f16" || !matrixFragment) return "rows";
  const { m } = matrixFragment;
  const fits = BLOCK_SIZE % m === 0 && headSize % BLOCK_SIZE === 0 && numHeads / numKvHeads % m === 0;
  return fits ? "tiles" : "rows";
}

/** WGSL `kvAt(slot, column)`: the element of a column, of all KV heads' columns side by side. Not for i8. */
export function kvAtSnippet(order: KvOrder, layer: KvLayer): string {
  const row = kvRowElements(layer);
  const at = order === "rows" ? `slot * ${row}u + column` : `slot / ${BLOCK_SIZE}u * ${BLOCK_SIZE * row}u +
        column / ${BLOCK_SIZE}u * ${
    BLOCK_SIZE ** 2
  }u + slot % ${BLOCK_SIZE}u * ${BLOCK_SIZE}u + column % ${BLOCK_SIZE}u`;
  return `fn kvAt(slot: u32, column: u32) -> u32 {
    return ${at};
}`;
}

/** Columns of a head that share a scale in i8. */
export const INT8_GROUP = 32;

/** Words of a head of an i8 row: its scales, and its elements, the last word filled up with zeros. */
export function int8HeadWords({ headSize }: Pick<KvLayer, "headSize">): { scales: number; all: number } {
  const scales = Math.ceil(headSize / INT8_GROUP);
  return { scales, all: scales + Math.ceil(headSize / 4) };
}

/** Bytes from one token's row to the next, whole words. */
export function kvRowBytes(layer: KvLayer, type: KvType): number {
  switch (type) {
    case "f32":
      return 4 * kvRowElements(layer);
    case "f16":
      return 2 * kvRowElements(layer);
    case "i8":
      return 4 * layer.numKvHeads * int8HeadWords(layer).all;
  }
}
