// Moves blocks of the KV cache between a GPU and slots in host memory, K and V of every layer. Every move is submitted
// to the queue before the step that it belongs to. What is parked is read back while that step runs, and waited for only
// when the staging memory is needed again, or a slot that is yet to be filled.
import type { GpuDevice } from "../../device/gpu_device.ts";
import { Readback } from "../../device/readback.ts";
import type { HostMove, HostMoves } from "../step.ts";
import { HostSlots } from "./host_slots.ts";
import { kvBlockBytes, type KvMatrix } from "./kv_matrices.ts";

/** Bytes of staging memory in each direction. */
const STAGING_BYTES = 2 ** 25;

export class GpuHostBlocks implements Disposable {
  readonly #gpu: GpuDevice;
  readonly #matrices: readonly KvMatrix[];
  readonly #blockBytes: number;
  readonly #blocksPerTurn: number;
  readonly #slots: HostSlots;
  readonly #fromDevice: Readback;
  readonly #toDevice: GPUBuffer;
  /** Ends when the slots of the latest parks hold their data. */
  #landing: Promise<void> = Promise.resolve();
  #landingIn: ReadonlySet<number> = new Set();
  #failed: { readonly error: unknown } | undefined;

  /** @param stagingBytes more blocks than this holds are moved in turns, a block at least in each */
  constructor(gpu: GpuDevice, matrices: readonly KvMatrix[], numSlots: number, stagingBytes = STAGING_BYTES) {
    this.#gpu = gpu;
    this.#matrices = matrices;
    this.#blockBytes = kvBlockBytes(matrices);
    this.#blocksPerTurn = Math.min(numSlots, Math.max(1, Math.floor(stagingBytes / this.#blockBytes)));
    this.#slots = new HostSlots(this.#blockBytes);
    const size = this.#blocksPerTurn * this.#blockBytes;
    this.#fromDevice = new Readback(gpu, size);
    this.#toDevice = gpu.device.createBuffer({
      label: "unparking",
      size,
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
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
    this.#fromDevice[Symbol.dispose]();
    this.#toDevice.destroy();
  }

  #park(moves: readonly HostMove[]): void {
    const encoder = this.#gpu.device.createCommandEncoder();
    moves.forEach(({ block }, i) => {
      for (const { buffer, blockBytes, offset } of this.#matrices) {
        const to = i * this.#blockBytes + offset;
        this.#fromDevice.encodeCopy(encoder, buffer, blockBytes, to, block * blockBytes);
      }
    });
    this.#gpu.device.queue.submit([encoder.finish()]);
    this.#landingIn = new Set(moves.map(({ slot }) => slot));
    this.#landing = this.#fromDevice.take(moves.length * this.#blockBytes, (data) => {
      const bytes = new Uint8Array(data);
      moves.forEach(({ slot }, i) =>
        this.#slots.bytes(slot).set(bytes.subarray(i * this.#blockBytes, (i + 1) * this.#blockBytes))
      );
    }).catch((error) => void (this.#failed ??= { error }));
  }

  #unpark(moves: readonly HostMove[]): void {
    const { device } = this.#gpu;
    const encoder = device.createCommandEncoder();
    moves.forEach(({ slot, block }, i) => {
      const start = i * this.#blockBytes;
      device.queue.writeBuffer(this.#toDevice, start, this.#slots.bytes(slot));
      for (const { buffer, blockBytes, offset } of this.#matrices) {
        encoder.copyBufferToBuffer(this.#toDevice, start + offset, buffer, block * blockBytes, blockBytes);
      }
    });
    device.queue.submit([encoder.finish()]);
  }

  *#turns(moves: readonly HostMove[]): Generator<readonly HostMove[]> {
    for (let start = 0; start < moves.length; start += this.#blocksPerTurn) {
      yield moves.slice(start, start + this.#blocksPerTurn);
    }
  }
}
