// How one token's K or V lies in the paged cache of a layer.
import type { KvLayer } from "../graph.ts";

/**
 * Elements from one token's row to the next: all KV heads side by side, rounded up to an even number so that rows of
 * f16 begin at whole words.
 */
export function kvRowElements(layer: KvLayer): number {
  const elements = layer.numKvHeads * layer.headSize;
  return elements + elements % 2;
}
