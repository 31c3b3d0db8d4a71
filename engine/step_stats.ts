// What steps were like: how many sequences and rows each had, how long contexts have grown. Counted where steps are
// made, how long they took; read by whoever watches the engine. Knows no clock.
import { MAX_DRAFT_TOKENS } from "./speculation.ts";
import type { ScheduledSequence } from "./step_budget.ts";

export interface StepCounts {
  /** Sequences in the latest step; 0 before the first. */
  readonly batchSize: number;
  /** Sequences over all steps: divided by `steps`, the average batch. */
  readonly stepSequences: number;
  /** Tokens that went through the model: of prompts, generated, and anew after a preemption. */
  readonly computedTokens: number;
  /** Milliseconds that steps took: where they follow each other, the rest of the time is what lies between them. */
  readonly stepMs: number;
  /** Longest context of any sequence so far, in tokens. */
  readonly longestContext: number;
  /** Drafts that went through the model: runs of tokens that a sequence was expected to draw next. */
  readonly drafts: number;
  readonly draftedTokens: number;
  /** Those of them that were right, and delivered. */
  readonly acceptedTokens: number;
  /** The same by place in the draft, the first place first. */
  readonly acceptedByPlace: readonly number[];
}

export class StepStats {
  #batchSize = 0;
  #stepSequences = 0;
  #computedTokens = 0;
  #stepMs = 0;
  #longestContext = 0;
  #drafts = 0;
  #draftedTokens = 0;
  readonly #acceptedByPlace = new Array<number>(MAX_DRAFT_TOKENS).fill(0);

  /** A step that has run, in `ms` milliseconds. */
  record(step: readonly ScheduledSequence[], ms: number) {
    this.#batchSize = step.length;
    this.#stepMs += ms;
    this.#stepSequences += step.length;
    for (const { start, numTokens } of step) {
      this.#computedTokens += numTokens;
      this.#longestContext = Math.max(this.#longestContext, start + numTokens);
    }
  }

  /** A sequence's draft, of which the first `accepted` tokens were right. */
  recordDrafts(drafted: number, accepted: number) {
    if (drafted > 0) this.#drafts++;
    this.#draftedTokens += drafted;
    for (let place = 0; place < accepted; place++) this.#acceptedByPlace[place]++;
  }

  get counts(): StepCounts {
    return {
      batchSize: this.#batchSize,
      stepSequences: this.#stepSequences,
      computedTokens: this.#computedTokens,
      stepMs: this.#stepMs,
      longestContext: this.#longestContext,
      drafts: this.#drafts,
      draftedTokens: this.#draftedTokens,
      acceptedTokens: this.#acceptedByPlace.reduce((sum, count) => sum + count, 0),
      acceptedByPlace: [...this.#acceptedByPlace],
    };
  }
}
