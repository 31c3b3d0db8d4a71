// An opened GPU: the standard GPUDevice with what callers need around it (caps, loss, errors nobody awaited). Knows
// neither how it was opened (open_gpu.ts) nor what runs on it.
import type { GpuCaps, Profile } from "./caps.ts";
import { DeviceLostError } from "./device_lost_error.ts";
import type { TickPacer } from "./tick_pacer.ts";

export class GpuDevice implements Disposable {
  readonly device: GPUDevice;
  readonly caps: GpuCaps;
  readonly profile: Profile;
  /** Resolves with the reason when the GPU goes away by itself; stays pending after dispose(). */
  readonly lost: Promise<string>;
  readonly #pacer: TickPacer | undefined;
  #lostReason: string | undefined;
  #disposed = false;
  #error: string | undefined;

  /** @param pacer of a provider whose waits must be paced */
  constructor(device: GPUDevice, caps: GpuCaps, profile: Profile, pacer?: TickPacer) {
    this.#pacer = pacer;
    this.device = device;
    this.caps = caps;
    this.profile = profile;
    this.lost = new Promise((resolve) => {
      device.lost.then((info) => {
        this.#lostReason = info.message || info.reason || "unknown";
        if (!this.#disposed) resolve(this.#lostReason);
      });
    });
    device.addEventListener("uncapturederror", (event) => {
      const { error } = event as Event & { error: GPUError };
      this.#error ??= error.message;
    });
  }

  /** Awaits work on the GPU that is expected to take `expectedMs` (0: unknown). */
  wait<T>(work: Promise<T>, expectedMs: number): Promise<T> {
    return this.#pacer?.wait(work, expectedMs) ?? work;
  }

  /**
   * Surfaces what WebGPU reports out of band: call it before relying on a submission's result.
   * @throws {DeviceLostError} when the device is gone
   * @throws {Error} with the first uncaptured validation or out-of-memory error since the last call
   */
  check(): void {
    if (this.#lostReason !== undefined) {
      throw new DeviceLostError(`The ${this.caps.provider} device was lost: ${this.#lostReason}`);
    }
    if (this.#error !== undefined) {
      const message = this.#error;
      this.#error = undefined;
      throw new Error(`WebGPU reported an error: ${message}`);
    }
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.device.destroy();
  }
}
