// What a step has yielded, on its way to the requests that it worked on: scores of prompts, new tokens, ends. Counts
// what is delivered. Knows no runner and no queue of requests.
import type { StepResult, TokenScore } from "../kernels/step.ts";
import type { Generation } from "./generation.ts";
import type { InFlight } from "./in_flight.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";
import { heldDraws, type ScheduledSequence } from "./step_budget.ts";
import { StepStats } from "./step_stats.ts";

export class StepDelivery {
  readonly #inFlight: InFlight;
  readonly #endIds: () => ReadonlySet<number>;
  readonly #now: () => number;
  readonly #stats = new StepStats();
  readonly #counts = { steps: 0, promptTokens: 0, cachedTokens: 0, generatedTokens: 0, drawnTokens: 0 };

  /**
   * @param endIds ids that end a completion
   * @param now milliseconds on the engine's clock
   */
  constructor(inFlight: InFlight, endIds: () => ReadonlySet<number>, now: () => number) {
    this.#inFlight = inFlight;
    this.#endIds = endIds;
    this.#now = now;
  }

  get counts() {
    return { ...this.#counts, ...this.#stats.counts };
  }

  /**
   * Records a step that has run, and delivers what the next one depends on: what may end, prompts, and tokens by which
   * later ones are chosen. Sequences that ended while the step ran get nothing, nor do those that lost their place to a
   * step that failed: they will draw the same again.
   * @param ms milliseconds that the step took
   * @returns delivers the rest, to be called once; whoever ends then has a row in the next step for nothing
   */
  deliver(
    scheduler: Scheduler,
    step: readonly ScheduledSequence[],
    result: StepResult,
    ms: number,
  ): () => void {
    this.#counts.steps++;
    this.#stats.record(step, ms);
    const now = this.#now();
    const prompts = new Set(step.map(({ sequence }) => sequence).filter(({ promptDone }) => !promptDone));
    const yields = yieldsOf(step, result);
    scheduler.complete(step, yields.map(({ held }) => held), ms);
    const [later, first] = partition(
      yields.filter(({ scheduled }) => scheduled.sequence.state === "running"),
      (one) => !prompts.has(one.scheduled.sequence) && this.#goesOn(one),
    );
    for (const one of first) this.#deliverOne(one, prompts.has(one.scheduled.sequence), now);
    return () => {
      for (const one of later) this.#deliverOne(one, false, now);
    };
  }

  #deliverOne({ scheduled, promptScores, held, scores }: Yield, readPrompt: boolean, now: number) {
    const { sequence } = scheduled;
    const generation = this.#inFlight.of(sequence);
    if (!generation) return;
    for (const score of promptScores) generation.addPromptScore(score!);
    if (readPrompt) {
      if (sequence.promptDone) this.#promptComputed(sequence, generation, now);
      else if (sequence.numUncomputed === 1 && sequence.allowed === "pending") generation.hold(now);
    }
    this.#addTokens(scheduled, generation, held, scores, now);
  }

  /** Nothing but a stop string or a rule can end it, and its tokens have no say in which come next. */
  #goesOn({ scheduled: { sequence }, held }: Yield): boolean {
    if (sequence.numGenerated >= sequence.maxTokens || sequence.constrained) return false;
    const endIds = this.#endIds();
    return sequence.adjustments([0]).length === 0 && !held.some((id) => endIds.has(id));
  }

  #promptComputed(sequence: Sequence, generation: Generation, now: number) {
    if (!sequence.leader) {
      this.#counts.promptTokens += generation.promptIds.length;
      this.#counts.cachedTokens += sequence.numCachedTokens ?? 0;
    }
    generation.promptComputed(sequence, now);
    if (sequence.maxTokens === 0) this.#inFlight.release(sequence);
  }

  /** One event a token, though several come at once. What was drawn after the end is as good as never drawn. */
  #addTokens(
    { sequence, drafts }: ScheduledSequence,
    generation: Generation,
    held: readonly number[],
    scores: readonly (TokenScore | undefined)[],
    now: number,
  ) {
    sequence.numDrafted += drafts.length;
    const before = generation.numTokensOf(sequence);
    let delivered = 0, ended = false;
    while (delivered < held.length && !ended) {
      if (delivered < held.length - 1) sequence.numAccepted++;
      ended = generation.addToken(sequence, held[delivered], scores[delivered], now);
      delivered++;
    }
    this.#counts.drawnTokens += delivered;
    this.#counts.generatedTokens += generation.numTokensOf(sequence) - before;
    this.#stats.recordDrafts(drafts.length, Math.min(delivered, held.length - 1));
    if (ended) this.#inFlight.release(sequence);
  }
}

function partition<T>(items: readonly T[], has: (item: T) => boolean): [T[], T[]] {
  const groups = Map.groupBy(items, has);
  return [groups.get(true) ?? [], groups.get(false) ?? []];
}

interface Yield {
  readonly scheduled: ScheduledSequence;
  readonly promptScores: readonly (TokenScore | undefined)[];
  /** New tokens, and the score of each. */
  readonly held: readonly number[];
  readonly scores: readonly (TokenScore | undefined)[];
}

/** What each sequence's samples say, which stand in the order of `packBatch`. */
function yieldsOf(step: readonly ScheduledSequence[], { tokenIds, scores }: StepResult): Yield[] {
  let sample = 0;
  return step.map((scheduled) => {
    const { scoreStart, scoreEnd, draws, drafts } = scheduled;
    const drawStart = sample + scoreEnd - scoreStart, first = sample;
    sample = drawStart + (draws ? 1 + drafts.length : 0);
    return {
      scheduled,
      promptScores: scores.slice(first, drawStart),
      held: draws ? heldDraws(scheduled, tokenIds.subarray(drawStart, sample)) : [],
      scores: scores.slice(drawStart, sample),
    };
  });
}
