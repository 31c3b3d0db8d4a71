// What the engine sees of a loaded model, whichever backend runs it.
import type { StepBatch, StepLimits, StepResult } from "../kernels/step.ts";

/** How exact long convolutions sum what earlier tokens add to single ones. */
export type LongConvolutions =
  | { readonly form: "direct" }
  /** Ahead of time, for windows of so many positions: kernels/convolution_history/online_sums.ts. */
  | { readonly form: "online"; readonly window: number };

export interface ModelRunner extends AsyncDisposable {
  readonly limits: StepLimits;
  /** Bytes of device memory that one block of the KV cache takes, all layers together. */
  readonly kvBytesPerBlock: number;
  /** Bytes that recurrent layers keep of a sequence, all together; 0 where there are none. */
  readonly stateBytes: number;
  /** Where the model has exact long convolutions. */
  readonly longConvolutions?: LongConvolutions;
  /**
   * Steps that may be under way: `step` may be called so many times before the first has resolved. They run one after
   * the other, and may name tokens that the step before draws (`drawnBefore`).
   */
  readonly stepsInFlight: number;
  /**
   * Runs one step and returns the chosen tokens.
   * @throws {DeviceLostError} when the device went away; the runner is then useless and must be disposed of.
   */
  step(batch: StepBatch): Promise<StepResult>;
  /** Resolves with the reason when the device is lost; never rejects. */
  readonly lost: Promise<string>;
}
