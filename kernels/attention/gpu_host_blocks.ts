// Moves blocks of the KV cache between a GPU and slots in host memory, K and V of every layer and
// histories of convolutions. Every move is submitted to the queue before the step that it belongs
// to. What is parked is read back while that step runs, and waited for only when more is to be
// parked, or a slot is wanted that is yet to be filled.
import type { GpuDevice } from "../../device/gpu_device.ts";
import { Readback } from "../../device/readback.ts";
import type { PagedMatrices } from "../gpu_op.ts";
import type { HostMove, HostMoves } from "../step.ts";
import { GpuBlockStaging } from "./gpu_block_staging.ts";
import { HostSlots } from "./host_slots.ts";

/** Bytes of staging memory, on the device and once more to read back: a prompt of thousands of tokens in one turn. */
const STAGING_BYTES = 2 ** 25;

export class GpuHostBlocks implements Disposable {
  readonly #gpu: GpuDevice;
  readonly #staging: GpuBlockStaging;
  readonly #readback: Readback;
  readonly #slots: HostSlots;
  /** Ends when the slots of the latest parks hold their data. */
  #landing: Promise<void> = Promise.resolve();
  #landingIn: ReadonlySet<number> = new Set();
  #failed: { readonly error: unknown } | undefined;

  /** @param stagingBytes more blocks than this holds are moved in turns, a block at least in each */
  constructor(
    gpu: GpuDevice,
    paged: readonly PagedMatrices[],
    numSlots: number,
    stagingBytes = STAGING_BYTES,
  ) {
    this.#gpu = gpu;
    this.#staging = new GpuBlockStaging(gpu, paged, { bytes: stagingBytes, maxBlocks: numSlots });
    this.#readback = new Readback(gpu, this.#staging.buffer.size);
    this.#slots = new HostSlots(this.#staging.blockBytes);
  }

  /**
   * Submits a step's moves, in the order that `HostMoves` demands.
   * @throws {DeviceLostError} when the GPU went away, also under earlier parks; every slot is then lost
   */
  async move({ parks, unparks }: HostMoves): Promise<void> {
    for (const turn of this.#turns(parks)) {
      await this.landed();
      this.#park(turn);
    }
    if (unparks.some(({ slot }) => this.#landingIn.has(slot))) await this.landed();
    for (const turn of this.#turns(unparks)) this.#unpark(turn);
  }

  /**
   * Waits until the slots of all parks hold their data.
   * @throws as `move`
   */
  async landed(): Promise<void> {
    await this.#landing;
    this.#landingIn = new Set();
    this.check();
  }

  /**
   * To be called by every step: an error of its own may have been reported to a park that ran meanwhile.
   * @throws what a park ended with since the last call
   */
  check(): void {
    const failed = this.#failed;
    this.#failed = undefined;
    if (failed) throw failed.error;
  }

  [Symbol.dispose](): void {
    this.#readback[Symbol.dispose]();
    this.#staging[Symbol.dispose]();
  }

  #park(moves: readonly HostMove[]): void {
    const { blockBytes, buffer } = this.#staging;
    const encoder = this.#gpu.device.createCommandEncoder();
    this.#staging.encode(encoder, "park", moves.map(({ block }) => block));
    this.#readback.encodeCopy(encoder, buffer, moves.length * blockBytes);
    this.#gpu.device.queue.submit([encoder.finish()]);
    this.#landingIn = new Set(moves.map(({ slot }) => slot));
    this.#landing = this.#readback.take(moves.length * blockBytes, (data) => {
      moves.forEach(({ slot }, i) =>
        this.#slots.bytes(slot).set(new Uint8Array(data, i * blockBytes, blockBytes))
      );
    }).catch((error) => void (this.#failed ??= { error }));
  }

  #unpark(moves: readonly HostMove[]): void {
    const { device } = this.#gpu;
    moves.forEach(({ slot }, i) =>
      device.queue.writeBuffer(
        this.#staging.buffer,
        i * this.#staging.blockBytes,
        this.#slots.bytes(slot),
      )
    );
    const encoder = device.createCommandEncoder();
    this.#staging.encode(encoder, "unpark", moves.map(({ block }) => block));
    device.queue.submit([encoder.finish()]);
  }

  *#turns(moves: readonly HostMove[]): Generator<readonly HostMove[]> {
    const { maxBlocks } = this.#staging;
    for (let start = 0; start < moves.length; start += maxBlocks) {
      yield moves.slice(start, start + maxBlocks);
    }
  }
}
