// Which of several completions of a prompt are the likeliest, token by token: what "best of" means to OpenAI and to TGI.
import type { PromptEvent } from "./generation.ts";

/** Gathers what the engine says of how likely each sample is (`rankSamples`). */
export class SampleRanks {
  readonly #means = new Map<string, number>();

  add({ prompt, event }: PromptEvent): void {
    if (event.kind !== "finish" || event.meanLogprob === undefined) return;
    this.#means.set(keyOf(prompt, event.sample), event.meanLogprob);
  }

  /** The first `count` samples of a prompt, the best first; of equals, in order. One without tokens comes last. */
  best(prompt: number, count: number): number[] {
    const samples = Array.from({ length: count }, (_, sample) => sample);
    const means = samples.map((sample) => this.#means.get(keyOf(prompt, sample)) ?? -Infinity);
    return samples.sort((a, b) => means[a] === means[b] ? a - b : means[b]! - means[a]!);
  }
}

function keyOf(prompt: number, sample: number): string {
  return `${prompt}/${sample}`;
}
