// Which of several completions of a prompt are the likeliest, token by token: what "best of" means to OpenAI and to TGI.
import type { PromptEvent } from "./generation.ts";

/** Adds up log-probabilities of new tokens, by prompt and sample. */
export class SampleScores {
  readonly #scores = new Map<string, { sum: number; count: number }>();

  add({ prompt, event }: PromptEvent): void {
    if (event.kind !== "token" || event.logprob?.logprob == null) return;
    const key = keyOf(prompt, event.sample);
    const { sum, count } = this.#scores.get(key) ?? { sum: 0, count: 0 };
    this.#scores.set(key, { sum: sum + event.logprob.logprob, count: count + 1 });
  }

  /** The first `count` samples of a prompt, the best first; of equals, in order. One without tokens comes last. */
  best(prompt: number, count: number): number[] {
    const samples = Array.from({ length: count }, (_, sample) => sample);
    const means = samples.map((sample) => this.#mean(prompt, sample));
    return samples.sort((a, b) => means[a] === means[b] ? a - b : means[b]! - means[a]!);
  }

  #mean(prompt: number, sample: number): number {
    const score = this.#scores.get(keyOf(prompt, sample));
    return score ? score.sum / score.count : -Infinity;
  }
}

function keyOf(prompt: number, sample: number): string {
  return `${prompt}/${sample}`;
}
