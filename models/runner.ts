// What the engine sees of a loaded model, whichever backend runs it.
import type { StepBatch, StepLimits, StepResult } from "../kernels/step.ts";

export interface ModelRunner extends AsyncDisposable {
  readonly limits: StepLimits;
  /** Bytes of device memory that one block of the KV cache takes, all layers together. */
  readonly kvBytesPerBlock: number;
  /**
   * Runs one step and returns the chosen tokens.
   * @throws {DeviceLostError} when the device went away; the runner is then useless and must be disposed of.
   */
  step(batch: StepBatch): Promise<StepResult>;
  /** Resolves with the reason when the device is lost; never rejects. */
  readonly lost: Promise<string>;
}
