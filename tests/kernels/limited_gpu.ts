// A GPU that says it has less than it has, for forms that only smaller ones need.
import type { GpuCaps } from "../../device/caps.ts";
import { GpuDevice } from "../../device/gpu_device.ts";

/** `gpu` with other caps; not to be disposed. Waits go through its pacer. */
export class LimitedGpu extends GpuDevice {
  readonly #gpu: GpuDevice;

  constructor(gpu: GpuDevice, caps: Partial<GpuCaps>) {
    super(gpu.device, { ...gpu.caps, ...caps }, gpu.profile);
    this.#gpu = gpu;
  }

  override wait<T>(work: Promise<T>, expectedMs: number): Promise<T> {
    return this.#gpu.wait(work, expectedMs);
  }
}
