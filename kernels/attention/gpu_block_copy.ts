// Copies blocks of the cache to others on the GPU: K and V of every layer, and histories of convolutions. WebGPU copies no
// buffer to itself, so they go by way of a buffer in between.
import type { PagedMatrices } from "../gpu_op.ts";
import { BLOCK_SIZE, type BlockCopy } from "../step.ts";

/** K or V of one layer, or its history. */
interface Matrix {
  readonly buffer: GPUBuffer;
  /** Of a block. */
  readonly bytes: number;
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
        const matrix = { buffer, bytes: rowBytes * BLOCK_SIZE, between: bytes };
        bytes += matrix.bytes;
        return matrix;
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
    for (const { buffer, bytes, between } of this.#matrices) {
      encoder.copyBufferToBuffer(buffer, from * bytes, this.#between, between, bytes);
    }
    for (const { buffer, bytes, between } of this.#matrices) {
      encoder.copyBufferToBuffer(this.#between, between, buffer, to * bytes, bytes);
    }
  }

  [Symbol.dispose](): void {
    this.#between.destroy();
  }
}
