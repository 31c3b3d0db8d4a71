// The requests in flight: which generation a sequence belongs to, and every way for one to end before it is done (left by
// its client, superseded, out of time, failed). Whatever ends, its blocks are free at once. Knows no device and no queue.
import { EngineUnavailableError } from "./errors.ts";
import type { Generation } from "./generation.ts";
import type { GenerationRequest } from "./request.ts";
import type { Sequence } from "./sequence.ts";
import { Sessions } from "./sessions.ts";

export class InFlight {
  readonly #generations = new Map<Sequence, Generation>();
  readonly #sessions = new Sessions<Generation>();
  readonly #now: () => number;
  readonly #finish: (sequence: Sequence) => void;
  readonly #counts = {
    cancelled: 0,
    cancelledIn: { queue: 0, prefill: 0, decode: 0 },
    supersededIn: { queue: 0, prefill: 0, decode: 0 },
  };

  /**
   * @param now milliseconds on a clock that never goes back
   * @param finish takes a sequence out of the schedule, wherever it is
   */
  constructor(now: () => number, finish: (sequence: Sequence) => void) {
    this.#now = now;
    this.#finish = finish;
  }

  get counts() {
    return structuredClone(this.#counts);
  }

  get generations(): ReadonlySet<Generation> {
    return new Set(this.#generations.values());
  }

  has(sequence: Sequence): boolean {
    return this.#generations.has(sequence);
  }

  /** Undefined once it has ended. */
  of(sequence: Sequence): Generation | undefined {
    return this.#generations.get(sequence);
  }

  add(generation: Generation, request: GenerationRequest) {
    for (const sequence of generation.sequences) this.#generations.set(sequence, generation);
    this.#sessions.add(generation, request);
  }

  /** Those that a newer request makes pointless. */
  outdatedBy(request: GenerationRequest): ReadonlySet<Generation> {
    return new Set(this.#sessions.supersededBy(request));
  }

  supersede(generation: Generation) {
    this.#counts.supersededIn[generation.stage]++;
    this.#cut(generation, "superseded");
  }

  cancel(generation: Generation) {
    this.#counts.cancelled++;
    this.#counts.cancelledIn[generation.stage]++;
    this.#releaseAll(generation);
  }

  /** Ends what nobody waits for; it is not counted. */
  withdraw(generation: Generation) {
    this.#releaseAll(generation);
    generation.events.close();
  }

  abort(generation: Generation, reason: unknown) {
    if (generation.sequences.some((sequence) => this.has(sequence))) this.cancel(generation);
    generation.events.abort(reason);
  }

  end(generation: Generation | undefined, error: unknown) {
    if (!generation) return;
    this.#releaseAll(generation);
    generation.events.fail(error);
  }

  failAll(error: () => Error) {
    for (const generation of this.generations) this.end(generation, error());
  }

  /**
   * Ends what has waited, or run, for longer than its request allows.
   * @param cuts false: only what has nothing to show; others may have tokens that are yet to be told
   */
  enforceDeadlines({ cuts = true } = {}) {
    const now = this.#now();
    for (const generation of this.generations) {
      const verdict = generation.verdictAt(now);
      if (verdict === "fail") this.end(generation, timeoutError(now - generation.submittedAt));
      if (verdict === "cut" && cuts) this.#cut(generation, "length");
    }
  }

  /** Takes a sequence out, wherever it is. */
  release(sequence: Sequence) {
    const generation = this.#generations.get(sequence);
    if (!generation) return;
    this.#generations.delete(sequence);
    this.#finish(sequence);
    sequence[Symbol.dispose]();
    if (generation.sequences.every((one) => !this.has(one))) this.#sessions.delete(generation);
  }

  /** Ends a request with what it has. */
  #cut(generation: Generation, reason: "length" | "superseded") {
    generation.cut(this.#now(), reason);
    this.#releaseAll(generation);
  }

  #releaseAll({ sequences }: Generation) {
    for (const sequence of sequences) this.release(sequence);
  }
}

function timeoutError(ageMs: number): EngineUnavailableError {
  return new EngineUnavailableError(
    `Cannot serve request in time: it had nothing to show after ${Math.round(ageMs)} ms; try again later`,
    "timeout",
  );
}
