// The text of one sample as it grows: from token ids through stop strings and output rules, and how likely it is. Knows no
// events and no time.
import type { TokenScore } from "../kernels/step.ts";
import { Detokenizer } from "./detokenizer.ts";
import type { GenerationOptions, Sample } from "./generation.ts";
import type { OutputCleaner } from "./output_rules.ts";
import type { GenerationEvent } from "./request.ts";
import { StopMatcher } from "./stop.ts";

/** The text of one sample as it grows. */
export class SampleText {
  readonly sample: Sample;
  readonly stop: StopMatcher;
  readonly detokenizer: Detokenizer;
  readonly cleaner: OutputCleaner;
  /** As delivered, where somebody is to be told of them in the end. */
  readonly events: Extract<GenerationEvent, { kind: "token" }>[] = [];
  numTokens = 0;
  /** Whether what was delivered has a line break. */
  hasNewLine = false;
  /** Tokens drawn, also those that only spell what was typed. */
  numDrawn = 0;
  /** Of the tokens that were drawn, but for the end's, where there are scores. */
  #sumOfLogprobs = 0;
  #numScored = 0;
  firstTokenAt: number | undefined;
  ended = false;

  constructor(sample: Sample, options: GenerationOptions) {
    this.sample = sample;
    this.stop = new StopMatcher(options.request.stop ?? []);
    this.detokenizer = new Detokenizer(options.tokenizer, options.prompt.healing?.bytes.length);
    this.cleaner = options.newCleaner();
  }

  /** To be spread into what is said of its end; nothing where nothing was drawn. */
  get meanLogprob(): { readonly meanLogprob?: number } {
    return this.#numScored === 0 ? {} : { meanLogprob: this.#sumOfLogprobs / this.#numScored };
  }

  addScore(score: TokenScore | undefined) {
    if (!score) return;
    this.#sumOfLogprobs += score.logprob;
    this.#numScored++;
  }
}
