// The KV cache on a GPU as what copies blocks sees it: two matrices a layer, each a run of equally long blocks.
import type { GpuKvCache } from "../gpu_op.ts";
import type { KvLayer } from "../graph.ts";
import { BLOCK_SIZE } from "../step.ts";
import { kvRowElements } from "./kv_layout.ts";

/** K or V of one layer. */
export interface KvMatrix {
  readonly buffer: GPUBuffer;
  /** Bytes from one token's row to the next, whole words. */
  readonly rowBytes: number;
  readonly blockBytes: number;
  /** Where its block lies in a copy of a block of all matrices, one after the other. */
  readonly offset: number;
}

export function kvMatrices(layers: readonly KvLayer[], caches: readonly GpuKvCache[]): KvMatrix[] {
  let end = 0;
  return caches.flatMap(({ type, key, value }, layer) => {
    const rowBytes = kvRowElements(layers[layer]) * (type === "f16" ? 2 : 4);
    const blockBytes = rowBytes * BLOCK_SIZE;
    return [key, value].map((buffer) => {
      const offset = end;
      end += blockBytes;
      return { buffer, rowBytes, blockBytes, offset };
    });
  });
}

/** Bytes of one block of all matrices. */
export function kvBlockBytes(matrices: readonly KvMatrix[]): number {
  return matrices.reduce((sum, { blockBytes }) => sum + blockBytes, 0);
}
