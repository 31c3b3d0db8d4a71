// What steps were like: how many sequences and rows each had, how long contexts have grown. Counted where steps are
// made, read by whoever watches the engine. Knows no clock.
import type { ScheduledSequence } from "./scheduler.ts";

export interface StepCounts {
  /** Sequences in the latest step; 0 before the first. */
  readonly batchSize: number;
  /** Sequences over all steps: divided by `steps`, the average batch. */
  readonly stepSequences: number;
  /** Rows (tokens computed) over all steps, prompts and new tokens alike. */
  readonly stepTokens: number;
  /** Longest context of any sequence so far, in tokens. */
  readonly longestContext: number;
}

export class StepStats {
  #batchSize = 0;
  #stepSequences = 0;
  #stepTokens = 0;
  #longestContext = 0;

  /** A step that has run. */
  record(step: readonly ScheduledSequence[]) {
    this.#batchSize = step.length;
    this.#stepSequences += step.length;
    for (const { start, numTokens } of step) {
      this.#stepTokens += numTokens;
      this.#longestContext = Math.max(this.#longestContext, start + numTokens);
    }
  }

  get counts(): StepCounts {
    return {
      batchSize: this.#batchSize,
      stepSequences: this.#stepSequences,
      stepTokens: this.#stepTokens,
      longestContext: this.#longestContext,
    };
  }
}
