// Brings bytes onto a GPU while more are being read: in pieces, a few under way at once, each filled where the GPU copies
// it from, so that the host moves nothing twice and holds no more than those pieces. Knows no tensors.
import type { GpuDevice } from "../device/gpu_device.ts";
import { readsBlock } from "../device/readback.ts";

/** The largest piece. */
export const PIECE_BYTES = 16 * 1024 * 1024;
/** Pieces under way: one reader alone waits for the disk, or for memory, most of the time. */
const PIECES_AT_ONCE = 4;

/** Writes a whole piece; the memory is only lent. */
export type Fill = (piece: Uint8Array<ArrayBuffer>) => Promise<void>;

/** Memory of one piece, used again and again. */
interface Lane extends Disposable {
  /** The memory's first `numBytes`, once the GPU is done with what was in it. */
  open(numBytes: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Has the GPU copy them. */
  send(buffer: GPUBuffer, offset: number, numBytes: number): void;
  /** After `open`, in place of `send`. */
  drop(): void;
}

export class GpuUploads implements Disposable {
  readonly #gpu: GpuDevice;
  readonly #lanes: readonly Lane[];
  /** When the piece before is done, by lane. */
  readonly #last: Promise<unknown>[];
  /** Waits for the GPU follow each other: it is polled less the longer there always is one. */
  #lastOpened: Promise<unknown> = Promise.resolve();
  #next = 0;

  /** @param mapped fill memory that the GPU reads; where a map stands still until it is done, pieces are copied instead */
  constructor(gpu: GpuDevice, mapped = !readsBlock(gpu.caps)) {
    this.#gpu = gpu;
    const NewLane = mapped ? MappedLane : WrittenLane;
    this.#lanes = Array.from({ length: PIECES_AT_ONCE }, () => new NewLane(gpu));
    this.#last = this.#lanes.map(() => Promise.resolve());
  }

  /**
   * Fills a piece and has it copied to `buffer` at byte `offset`. Resolves when the copy is submitted. Numbers are
   * multiples of 4; several calls may be under way.
   * @param numBytes at most PIECE_BYTES
   * @throws {DeviceLostError} when the device went away meanwhile
   * @throws whatever else `fill` throws
   */
  async put(buffer: GPUBuffer, offset: number, numBytes: number, fill: Fill): Promise<void> {
    const index = this.#next++ % this.#lanes.length;
    const done = this.#last[index].then(() => this.#put(this.#lanes[index], buffer, offset, numBytes, fill));
    this.#last[index] = done.catch(() => {});
    try {
      await done;
    } catch (error) {
      // A loss takes the mapped memory away, under whoever fills it too; it is announced by an event of its own, which may
      // come a turn later.
      await new Promise((resolve) => setTimeout(resolve, 0));
      this.#gpu.check();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    for (const lane of this.#lanes) lane[Symbol.dispose]();
  }

  async #put(lane: Lane, buffer: GPUBuffer, offset: number, numBytes: number, fill: Fill): Promise<void> {
    const opened = this.#lastOpened.then(() => lane.open(numBytes));
    this.#lastOpened = opened.catch(() => {});
    const piece = await opened;
    try {
      await fill(piece);
    } catch (error) {
      lane.drop();
      throw error;
    }
    lane.send(buffer, offset, numBytes);
  }
}

/** Filled in a mapped buffer, which the GPU reads by itself. */
class MappedLane implements Lane {
  readonly #gpu: GpuDevice;
  readonly #staging: GPUBuffer;
  #mapped = true;

  constructor(gpu: GpuDevice) {
    this.#gpu = gpu;
    this.#staging = gpu.device.createBuffer({
      label: "upload",
      size: PIECE_BYTES,
      usage: GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC,
      mappedAtCreation: true,
    });
  }

  async open(numBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    if (!this.#mapped) await this.#gpu.wait(this.#staging.mapAsync(GPUMapMode.WRITE), 0);
    this.#mapped = true;
    return new Uint8Array(this.#staging.getMappedRange(0, numBytes));
  }

  send(buffer: GPUBuffer, offset: number, numBytes: number): void {
    this.drop();
    const encoder = this.#gpu.device.createCommandEncoder();
    encoder.copyBufferToBuffer(this.#staging, 0, buffer, offset, numBytes);
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  drop(): void {
    this.#staging.unmap();
    this.#mapped = false;
  }

  [Symbol.dispose](): void {
    this.#staging.destroy();
  }
}

/** Filled in ordinary memory, from which the provider copies. */
class WrittenLane implements Lane {
  readonly #queue: GPUQueue;
  readonly #memory = new Uint8Array(PIECE_BYTES);

  constructor({ device }: GpuDevice) {
    this.#queue = device.queue;
  }

  open(numBytes: number): Promise<Uint8Array<ArrayBuffer>> {
    return Promise.resolve(this.#memory.subarray(0, numBytes));
  }

  send(buffer: GPUBuffer, offset: number, numBytes: number): void {
    this.#queue.writeBuffer(buffer, offset, this.#memory, 0, numBytes);
    this.#queue.submit([]); // Until something is submitted, the provider keeps all of its copies.
  }

  drop(): void {}

  [Symbol.dispose](): void {}
}
