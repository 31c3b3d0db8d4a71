// How one token's inputs of a long convolution lie in the paged history of a layer.
import type { KvType } from "../attention/kv_layout.ts";
import type { HistoryLayer } from "../graph.ts";

/** Inputs have no heads to share scales, so beside keys in int8 they are f16. */
export type HistoryType = "f32" | "f16";

export function historyType(kvType: KvType): HistoryType {
  return kvType === "f32" ? "f32" : "f16";
}

/** Words from one token's row to the next; two f16 are a word. */
export function historyRowWords({ width }: HistoryLayer, type: HistoryType): number {
  return type === "f16" ? Math.ceil(width / 2) : width;
}

/** Bytes from one token's row to the next, whole words. */
export function historyRowBytes(layer: HistoryLayer, kvType: KvType): number {
  return 4 * historyRowWords(layer, historyType(kvType));
}
