// What a step has yielded, on its way to the requests that it worked on: scores of prompts, new tokens, ends. Counts
// what is delivered. Knows no runner and no queue of requests.
import type { StepResult } from "../kernels/step.ts";
import type { Generation } from "./generation.ts";
import type { InFlight } from "./in_flight.ts";
import type { ScheduledSequence, Scheduler } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";
import { StepStats } from "./step_stats.ts";

export class StepDelivery {
  readonly #inFlight: InFlight;
  readonly #now: () => number;
  readonly #stats = new StepStats();
  readonly #counts = { steps: 0, promptTokens: 0, cachedTokens: 0, generatedTokens: 0 };

  /** @param now milliseconds on the engine's clock */
  constructor(inFlight: InFlight, now: () => number) {
    this.#inFlight = inFlight;
    this.#now = now;
  }

  get counts() {
    return { ...this.#counts, ...this.#stats.counts };
  }

  /** Sequences that ended while the step ran get nothing. */
  deliver(scheduler: Scheduler, step: readonly ScheduledSequence[], { tokenIds, scores }: StepResult) {
    this.#counts.steps++;
    this.#stats.record(step);
    const now = this.#now();
    const prompts = new Set(step.map(({ sequence }) => sequence).filter(({ promptDone }) => !promptDone));
    scheduler.complete(step);
    let sample = 0;
    for (const { sequence, scoreStart, scoreEnd, draws } of step) {
      const first = sample;
      sample += scoreEnd - scoreStart + (draws ? 1 : 0);
      const generation = this.#inFlight.of(sequence);
      if (!generation) continue;
      for (const score of scores.slice(first, first + scoreEnd - scoreStart)) {
        generation.addPromptScore(score!);
      }
      if (prompts.has(sequence) && sequence.promptDone) this.#promptComputed(sequence, generation, now);
      if (draws) this.#addToken(sequence, generation, tokenIds[sample - 1], scores[sample - 1], now);
    }
  }

  #promptComputed(sequence: Sequence, generation: Generation, now: number) {
    if (!sequence.leader) {
      this.#counts.promptTokens += sequence.promptLength;
      this.#counts.cachedTokens += sequence.numCachedTokens ?? 0;
    }
    generation.promptComputed(sequence, now);
    if (sequence.maxTokens === 0) this.#inFlight.release(sequence);
  }

  #addToken(
    sequence: Sequence,
    generation: Generation,
    id: number,
    score: StepResult["scores"][number],
    now: number,
  ) {
    this.#counts.generatedTokens++;
    sequence.append(id);
    if (generation.addToken(sequence, id, score, now)) this.#inFlight.release(sequence);
  }
}
