// The steps that a runner has been given and has not answered, in their order. Knows neither requests nor schedules.
import type { StepResult } from "../kernels/step.ts";
import type { ModelRunner } from "../models/runner.ts";
import { packBatch, type StepMoves } from "./batch.ts";
import type { ScheduledSequence } from "./step_budget.ts";

export interface StepInFlight {
  readonly step: readonly ScheduledSequence[];
  /** Milliseconds on the engine's clock. */
  readonly begunAt: number;
  /** Rejects as `ModelRunner.step`, or with what `abandon` was given. */
  readonly result: Promise<StepResult>;
}

export class StepsInFlight {
  readonly #runner: ModelRunner;
  /** Ends the waits for steps that a lost device may never answer. */
  readonly #rejects = new Set<(error: Error) => void>();
  readonly #now: () => number;

  constructor(runner: ModelRunner, now: () => number) {
    this.#runner = runner;
    this.#now = now;
  }

  /** Whether steps run by themselves, once they have begun; else this thread runs them, or waits for them. */
  get overlap(): boolean {
    return this.#runner.stepsInFlight > 1;
  }

  /** Whether another one may begin. */
  get hasRoom(): boolean {
    return this.#rejects.size < this.#runner.stepsInFlight;
  }

  begin(step: readonly ScheduledSequence[], moves: StepMoves): StepInFlight {
    const { promise: result, resolve, reject } = Promise.withResolvers<StepResult>();
    this.#rejects.add(reject);
    const ended = () => this.#rejects.delete(reject);
    result.then(ended, ended); // Whoever awaits it sees an error; a step that nobody awaits any more has no say.
    const begunAt = this.#now();
    this.#run(step, moves).then(resolve, reject);
    return { step, begunAt, result };
  }

  /** What is thrown before the runner has the step is the step's failure, too. */
  async #run(step: readonly ScheduledSequence[], moves: StepMoves): Promise<StepResult> {
    return await this.#runner.step(packBatch(step, moves));
  }

  abandon(error: Error) {
    for (const reject of this.#rejects) reject(error);
  }
}
