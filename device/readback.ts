// A staging buffer through which results come back to the host.
//
// Deno's built-in WebGPU blocks in `mapAsync` until the GPU is done, then sleeps 10 ms before its promise resolves. Yet
// the buffer is mapped as soon as the call returns, so after one first awaited map it can be read at once: 0.09 ms
// instead of 11. That rests on today's implementation, so each read probes for it and falls back to awaiting.
import type { GpuCaps } from "./caps.ts";
import type { GpuDevice } from "./gpu_device.ts";

/** Whether a read stands still until all that was submitted has run: meanwhile nothing more can be submitted. */
export function readsBlock({ provider }: GpuCaps): boolean {
  return provider === "webgpu";
}

export class Readback implements Disposable {
  readonly #gpu: GpuDevice;
  readonly #buffer: GPUBuffer;
  /** What the last two waits took by kind of work, ms. */
  readonly #durations = new Map<string, readonly [number, number]>();
  #mappedOnce = false;

  constructor(gpu: GpuDevice, bytes: number) {
    this.#gpu = gpu;
    this.#buffer = gpu.device.createBuffer({
      label: "readback",
      size: Math.ceil(bytes / 4) * 4,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
  }

  /** Encodes the copy of `source`'s first `bytes` (a multiple of 4) to `offset` of this buffer. */
  encodeCopy(encoder: GPUCommandEncoder, source: GPUBuffer, bytes: number, offset = 0): void {
    encoder.copyBufferToBuffer(source, 0, this.#buffer, offset, bytes);
  }

  /**
   * The first `bytes` of the buffer, as a copy, once everything submitted so far has run.
   * @param kind work of the same kind takes about the same time, by which the wait is paced
   * @throws {DeviceLostError} when the device went away meanwhile.
   */
  read(bytes: number, kind = ""): Promise<ArrayBuffer> {
    return this.take(bytes, (data) => data.slice(0), kind);
  }

  /** As `read`, of what `use` makes of the bytes; they are gone when it returns. */
  async take<T>(bytes: number, use: (data: ArrayBuffer) => T, kind = ""): Promise<T> {
    const mapped = this.#buffer.mapAsync(GPUMapMode.READ, 0, bytes);
    if (readsBlock(this.#gpu.caps) && this.#mappedOnce) {
      const now = this.#takeNow(mapped, bytes, use);
      if (now) {
        this.#gpu.check();
        return now.value;
      }
    }
    try {
      await this.#wait(mapped, kind);
    } catch (error) {
      // A loss is announced by an event of its own, which may come a turn later than the failed map.
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#gpu.check();
      throw error;
    }
    this.#mappedOnce = true;
    const value = this.#useAndUnmap(bytes, use);
    this.#gpu.check();
    return value;
  }

  [Symbol.dispose](): void {
    this.#buffer.destroy();
  }

  /**
   * Expects the shorter of the last two waits of the kind: one may have been long for a reason of its own, the first
   * above all, under which drivers compile. Each wait ends a little early, so that the estimate can fall.
   */
  async #wait(mapped: Promise<undefined>, kind: string): Promise<void> {
    const [last, before] = this.#durations.get(kind) ?? [0, 0];
    const began = performance.now();
    await this.#gpu.wait(mapped, Math.min(last, before));
    this.#durations.set(kind, [performance.now() - began, last]);
  }

  #takeNow<T>(mapped: Promise<unknown>, bytes: number, use: (data: ArrayBuffer) => T) {
    // Unmapping before the promise resolves rejects it; the data has been read by then.
    mapped.catch(() => {});
    try {
      return { value: this.#useAndUnmap(bytes, use) };
    } catch {
      return undefined;
    }
  }

  #useAndUnmap<T>(bytes: number, use: (data: ArrayBuffer) => T): T {
    const value = use(this.#buffer.getMappedRange(0, bytes));
    this.#buffer.unmap();
    return value;
  }
}
