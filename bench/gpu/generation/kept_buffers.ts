// What a plan keeps of its sequences on the device, filled with random numbers: contexts that nobody has computed, for steps
// whose time depends on how long contexts are and not on what is in them. Watches which buffers are made and how large.
import type { GpuDevice } from "../../../device/gpu_device.ts";
import { uniforms } from "../random_values.ts";

/** As kernels/gpu_buffers.ts calls them. */
const KEPT = /^(key|value|history|state)\[/;
/** Kept as well, but made anew by the first step of a context. */
const SUMS = /^online\[/;
const STOCK_BYTES = 2 ** 26;

export class KeptBuffers {
  readonly #device: GPUDevice;
  readonly #kept: GPUBuffer[] = [];
  #sumBytes = 0;
  #otherBytes = 0;

  /** From now on every buffer of the device is counted. */
  constructor({ device }: GpuDevice) {
    this.#device = device;
    const create = device.createBuffer.bind(device);
    Object.defineProperty(device, "createBuffer", {
      configurable: true,
      value: (descriptor: GPUBufferDescriptor) => this.#count(create(descriptor), descriptor),
    });
  }

  /** Of sums that long convolutions make ahead of time, of all sequences together. */
  get sumBytes(): number {
    return this.#sumBytes;
  }

  /** Of all other buffers: weights, tables, working memory. */
  get otherBytes(): number {
    return this.#otherBytes;
  }

  fill(): void {
    const stock = this.#device.createBuffer({
      label: "random numbers",
      size: STOCK_BYTES,
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    // Two f16 between -1 and 1 are a small number as f32.
    const halves = Float16Array.from(uniforms(STOCK_BYTES / 2));
    this.#device.queue.writeBuffer(stock, 0, new Uint8Array(halves.buffer));
    const encoder = this.#device.createCommandEncoder();
    for (const buffer of this.#kept) {
      for (let at = 0; at < buffer.size; at += STOCK_BYTES) {
        encoder.copyBufferToBuffer(stock, 0, buffer, at, Math.min(STOCK_BYTES, buffer.size - at));
      }
    }
    this.#device.queue.submit([encoder.finish()]);
    stock.destroy();
  }

  #count(buffer: GPUBuffer, { label = "", size }: GPUBufferDescriptor): GPUBuffer {
    if (KEPT.test(label)) {
      this.#kept.push(buffer);
      return buffer;
    }
    if (SUMS.test(label)) {
      this.#sumBytes += size;
      return buffer;
    }
    this.#otherBytes += size;
    const destroy = buffer.destroy.bind(buffer);
    Object.defineProperty(buffer, "destroy", {
      configurable: true,
      value: () => {
        this.#otherBytes -= size;
        destroy();
      },
    });
    return buffer;
  }
}
