// Copies cache rows from block to block on the GPU: K and V of every layer, and histories of
// convolutions. WebGPU copies no buffer to itself, so the rows go by way of a buffer in between.
import type { PagedMatrices } from "../gpu_op.ts";
import { BLOCK_SIZE, type BlockCopy } from "../step.ts";

/** K or V of one layer, or its history. */
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

  constructor(device: GPUDevice, paged: readonly PagedMatrices[]) {
    let bytes = 0;
    this.#matrices = paged.flatMap(({ buffers, rowBytes }) =>
      buffers.flatMap((buffer) => {
        if (!buffer) return [];
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

  /** Whole blocks, in which tokens need not lie one after the other: what follows the copied rows is yet to be written. */
  encode(encoder: GPUCommandEncoder, { from, to }: BlockCopy): void {
    for (const { buffer, rowBytes, between } of this.#matrices) {
      const bytes = BLOCK_SIZE * rowBytes;
      encoder.copyBufferToBuffer(buffer, from * bytes, this.#between, between, bytes);
    }
    for (const { buffer, rowBytes, between } of this.#matrices) {
      const bytes = BLOCK_SIZE * rowBytes;
      encoder.copyBufferToBuffer(this.#between, between, buffer, to * bytes, bytes);
    }
  }

  [Symbol.dispose](): void {
    this.#between.destroy();
  }
}
