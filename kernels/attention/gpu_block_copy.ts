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
