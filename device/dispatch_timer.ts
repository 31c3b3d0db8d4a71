// Times single dispatches by timestamp queries: each runs in a compute pass of its own, begun and ended by a timestamp.
// For profiles only: passes of their own keep dispatches from following one another as closely as they otherwise would.
import type { GpuDevice } from "./gpu_device.ts";
import { Readback } from "./readback.ts";

/** Nanoseconds. */
export interface Span {
  readonly begin: number;
  readonly end: number;
}

export class DispatchTimer implements Disposable {
  readonly #queries: GPUQuerySet;
  readonly #resolved: GPUBuffer;
  readonly #readback: Readback;
  readonly #capacity: number;
  #used = 0;

  /** @throws {TypeError} when the adapter has no timestamps */
  constructor(gpu: GpuDevice, capacity: number) {
    if (!gpu.caps.timestamps) {
      throw new TypeError(`Cannot profile: ${gpu.caps.adapter} has no timestamp queries`);
    }
    this.#capacity = capacity;
    this.#queries = gpu.device.createQuerySet({ type: "timestamp", count: 2 * capacity });
    this.#resolved = gpu.device.createBuffer({
      size: 16 * capacity,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    this.#readback = new Readback(gpu, 16 * capacity);
  }

  /** Begins a pass for the next dispatch. @throws {RangeError} beyond the capacity */
  beginPass(encoder: GPUCommandEncoder): GPUComputePassEncoder {
    if (this.#used === this.#capacity) {
      throw new RangeError(`Cannot profile: more than ${this.#capacity} dispatches`);
    }
    const first = 2 * this.#used++;
    return encoder.beginComputePass({
      timestampWrites: {
        querySet: this.#queries,
        beginningOfPassWriteIndex: first,
        endOfPassWriteIndex: first + 1,
      },
    });
  }

  /** After the last pass, before the submission. */
  encodeResults(encoder: GPUCommandEncoder): void {
    encoder.resolveQuerySet(this.#queries, 0, 2 * this.#used, this.#resolved, 0);
    this.#readback.encodeCopy(encoder, this.#resolved, 16 * this.#used);
  }

  /** Once everything submitted has run: when the first pass began by the GPU's clock, and each pass counted from there. */
  async read(): Promise<{ readonly start: bigint; readonly spans: readonly Span[] }> {
    const stamps = new BigUint64Array(await this.#readback.read(16 * this.#used));
    const spans = Array.from({ length: this.#used }, (_, i) => ({
      begin: Number(stamps[2 * i] - stamps[0]),
      end: Number(stamps[2 * i + 1] - stamps[0]),
    }));
    return { start: stamps[0], spans };
  }

  [Symbol.dispose](): void {
    this.#queries.destroy();
    this.#resolved.destroy();
    this.#readback[Symbol.dispose]();
  }
}
