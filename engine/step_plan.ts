// A step in the making: the rows given out so far, and what is left to give. Pure; whose turn it is others say.
import { MAX_ADJUSTMENTS } from "../kernels/control.ts";
import { MAX_MASKS } from "../kernels/sampling/token_mask.ts";
import type { StepLimits } from "../kernels/step.ts";
import type { Progress } from "./progress.ts";
import type { Sequence } from "./sequence.ts";
import { giveBack, type ScheduledSequence, type StepBudget, take } from "./step_budget.ts";

export class StepPlan {
  readonly step: ScheduledSequence[] = [];
  readonly budget: StepBudget;
  /** How far everybody has got when it begins. */
  readonly progress: Progress;
  /** The oldest of all, once it has waited for long. */
  readonly elder: Sequence | undefined;
  /** False once somebody more urgent waits for a place. */
  admits = true;

  constructor({ maxTokens, maxSamples }: StepLimits, progress: Progress, elder: Sequence | undefined) {
    this.budget = { tokens: maxTokens, samples: maxSamples, adjustments: MAX_ADJUSTMENTS, masks: MAX_MASKS };
    this.progress = progress;
    this.elder = elder;
  }

  /** Adds a sequence's next rows, at most `most`. @returns how many, perhaps none */
  take(sequence: Sequence, most?: number): number {
    return take(sequence, this.budget, this.step, this.progress.reached(sequence), most);
  }

  /** Takes a sequence's rows out again. */
  giveBack(sequence: Sequence) {
    giveBack(sequence, this.budget, this.step);
  }

  get numRows(): number {
    return this.step.reduce((rows, { numTokens }) => rows + numTokens, 0);
  }

  get hasLive(): boolean {
    return this.step.some(({ sequence }) => sequence.rank === 0);
  }
}
