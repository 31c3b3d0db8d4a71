// Copies cache rows from block to block on the GPU, K and V of every layer. WebGPU copies no buffer to itself, so the
// rows go by way of a buffer in between.
import { BLOCK_SIZE, type BlockCopy } from "../step.ts";
import { kvBlockBytes, type KvMatrix } from "./kv_matrices.ts";

export class GpuBlockCopier implements Disposable {
  readonly #matrices: readonly KvMatrix[];
  readonly #between: GPUBuffer;

  constructor(device: GPUDevice, matrices: readonly KvMatrix[]) {
    this.#matrices = matrices;
    this.#between = device.createBuffer({
      label: "block copy",
      size: Math.max(16, kvBlockBytes(matrices)),
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
  }

  encode(encoder: GPUCommandEncoder, { from, to, rows }: BlockCopy): void {
    for (const { buffer, rowBytes, offset } of this.#matrices) {
      const source = from * BLOCK_SIZE * rowBytes;
      encoder.copyBufferToBuffer(buffer, source, this.#between, offset, rows * rowBytes);
    }
    for (const { buffer, rowBytes, offset } of this.#matrices) {
      const target = to * BLOCK_SIZE * rowBytes;
      encoder.copyBufferToBuffer(this.#between, offset, buffer, target, rows * rowBytes);
    }
  }

  [Symbol.dispose](): void {
    this.#between.destroy();
  }
}
