// How long steps may be, from what steps take on this machine and from when somebody last typed. Nobody can interrupt a
// step: who asks while one runs waits for its end. Pure: times are passed in, in milliseconds on the engine's clock.
import type { ScheduledSequence } from "./step_budget.ts";
import { StepCost } from "./step_cost.ts";
import type { StepPace } from "./step_pace.ts";

/** Somebody who sent a live request this long ago is taken to be still at the keyboard. */
const TYPING_MS = 5_000;
/** Longest step of what nobody waits for while somebody types: a third of the time in which a key goes down and up. */
const BACKGROUND_STEP_MS = 8;
/**
 * Longest step in which a prompt is read beside decodes; everybody else's token is so late. Decodes take a part of each
 * step that does not grow with it, so much shorter ones would read prompts at half the speed.
 */
const CHUNK_STEP_MS = 24;
/** Longest step of live prompts alone: half a step is what the next request waits on average. */
const PROMPT_STEP_MS = 32;
/** Where one row alone takes long, steps that take little longer would mostly do what every step does. */
const BACKGROUND_STRETCH = 1.25;
const CHUNK_STRETCH = 2;

export class Pacer {
  readonly #cost = new StepCost();
  #lastLiveAt = -Infinity;

  /** A live request has come. */
  liveArrived(now: number) {
    this.#lastLiveAt = now;
  }

  /** A step has run. */
  stepTook(step: readonly ScheduledSequence[], ms: number) {
    this.#cost.record(step.reduce((rows, { numTokens }) => rows + numTokens, 0), ms);
  }

  /** What a step of so many rows is expected to take, milliseconds. */
  msOf(rows: number): number {
    return this.#cost.msOf(rows);
  }

  paceAt(now: number): StepPace {
    const typing = now - this.#lastLiveAt < TYPING_MS;
    const oneRowMs = this.#cost.msOf(1);
    const within = (ms: number, stretch: number) => this.#cost.rowsWithin(Math.max(ms, stretch * oneRowMs));
    return {
      chunkRows: within(CHUNK_STEP_MS, CHUNK_STRETCH),
      promptRows: within(PROMPT_STEP_MS, CHUNK_STRETCH),
      backgroundRows: typing ? within(BACKGROUND_STEP_MS, BACKGROUND_STRETCH) : Infinity,
    };
  }
}
