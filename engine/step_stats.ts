// What steps were like: how many sequences and rows each had, how long contexts have grown. Counted where steps are
// made, read by whoever watches the engine. Knows no clock.
import type { ScheduledSequence } from "./scheduler.ts";

export interface StepCounts {
  /** Sequences in the latest step; 0 before the first. */
  readonly batchSize: number;
  /** Sequences over all steps: divided by `steps`, the average batch. */
  readonly stepSequences: number;
  /** Tokens that went through the model: of prompts, generated, and anew after a preemption. */
  readonly computedTokens: number;
  /** Longest context of any sequence so far, in tokens. */
  readonly longestContext: number;
}

export class StepStats {
  #batchSize = 0;
  #stepSequences = 0;
  #computedTokens = 0;
  #longestContext = 0;

  /** A step that has run. */
  record(step: readonly ScheduledSequence[]) {
    this.#batchSize = step.length;
    this.#stepSequences += step.length;
    for (const { start, numTokens } of step) {
      this.#computedTokens += numTokens;
      this.#longestContext = Math.max(this.#longestContext, start + numTokens);
    }
  }

  get counts(): StepCounts {
    return {
      batchSize: this.#batchSize,
      stepSequences: this.#stepSequences,
      computedTokens: this.#computedTokens,
      longestContext: this.#longestContext,
    };
  }
}
