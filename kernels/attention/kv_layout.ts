// How one token's K or V lies in the paged cache of a layer.
import type { KvLayer } from "../graph.ts";

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
