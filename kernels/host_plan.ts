// What the two lowerings for the CPU have in common: a plan whose output rows come to the host. Types only.
import type { GraphInputs } from "./graph.ts";
import type { StepBatch } from "./step.ts";

/** Receives row `index` of the graph's output, a sample's or a token's; valid during the call only. */
export type OnRow = (index: number, row: Float32Array) => void;

export interface HostPlan extends Disposable {
  /** Runs the batch and hands over the rows of the graph's output, in no particular order. */
  step(batch: StepBatch, onRow: OnRow, inputs?: GraphInputs): Promise<void>;
}
