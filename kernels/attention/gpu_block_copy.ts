// Copies cache rows from block to block on the GPU, K and V of every layer. WebGPU copies no buffer to itself, so the
// rows go by way of a buffer in between.
import type { GpuKvCache } from "../gpu_op.ts";
import type { KvLayer } from "../graph.ts";
import { BLOCK_SIZE, type BlockCopy } from "../step.ts";
import { kvRowBytes } from "./kv_layout.ts";

/** K or V of one layer. */
interface Matrix {
  readonly buffer: GPUBuffer;
  /** Bytes from one token's row to the next, whole words. */
  readonly rowBytes: number;
  /** Where a block of it lies in the buffer in between. */
  readonly between: number;
}

export class GpuBlockCopier implements Disposable {
  readonly #matrices: readonly Matrix[];
  readonly #between: GPUBuffer;

  constructor(device: GPUDevice, layers: readonly KvLayer[], caches: readonly GpuKvCache[]) {
    let bytes = 0;
    this.#matrices = caches.flatMap(({ type, key, value }, layer) =>
      [key, value].map((buffer) => {
        const rowBytes = kvRowBytes(layers[layer], type);
        const between = bytes;
        bytes += rowBytes * BLOCK_SIZE;
        return { buffer, rowBytes, between };
      })
    );
    this.#between = device.createBuffer({
      label: "block copy",
      size: Math.max(16, bytes),
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
  }

  encode(encoder: GPUCommandEncoder, { from, to, rows }: BlockCopy): void {
    for (const { buffer, rowBytes, between } of this.#matrices) {
      const source = from * BLOCK_SIZE * rowBytes;
      encoder.copyBufferToBuffer(buffer, source, this.#between, between, rows * rowBytes);
    }
    for (const { buffer, rowBytes, between } of this.#matrices) {
      const target = to * BLOCK_SIZE * rowBytes;
      encoder.copyBufferToBuffer(this.#between, between, buffer, target, rows * rowBytes);
    }
  }

  [Symbol.dispose](): void {
    this.#between.destroy();
  }
}
