// The engine in this thread: owns the loop schedule -> pack -> run -> events, the requests in flight, and the model,
// which it opens anew when the device is lost. Device work blocks, so servers run it in a worker (`worker_engine.ts`).
import { setImmediate } from "node:timers";
import { DeviceLostError } from "../device/device_lost_error.ts";
import type { StepResult } from "../kernels/step.ts";
import type { LoadedModel, OnProgress } from "../models/loaded_model.ts";
import type { ModelRunner } from "../models/runner.ts";
import { Admission } from "./admission.ts";
import type { BlockMap } from "./block_map.ts";
import type { Engine, EngineState, EngineStats, ModelInfo } from "./engine.ts";
import type { EngineOptions } from "./engine_options.ts";
import { deviceLostError, EngineUnavailableError } from "./errors.ts";
import { EventQueue } from "./event_queue.ts";
import { GrammarPool } from "./grammar_pool.ts";
import { Idle } from "./idle.ts";
import { InFlight } from "./in_flight.ts";
import { Pacer } from "./pacer.ts";
import { PlaceStats } from "./place_stats.ts";
import { DEFAULT_REOPEN_DELAYS_MS, disposeQuietly, reopenModel } from "./reopen_model.ts";
import type { GenerationEvent, GenerationRequest } from "./request.ts";
import { Scheduler } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";
import { describeSequence, type SequenceInfo } from "./sequence_info.ts";
import { ServedModel } from "./served_model.ts";
import { Speculation } from "./speculation.ts";
import type { ScheduledSequence } from "./step_budget.ts";
import { StepDelivery } from "./step_delivery.ts";
import { type StepInFlight, StepsInFlight } from "./steps_in_flight.ts";
import { TypeThrough } from "./type_through.ts";

export interface LocalEngineOptions extends Omit<EngineOptions, "load"> {
  /** Opens the model: at first, and again whenever its device was lost. */
  readonly openModel: (onProgress: OnProgress) => Promise<LoadedModel>;
  /** Told of every change of `state`. */
  readonly onState?: (state: EngineState) => void;
  /** Called after every step, in a turn of the event loop of its own: receives what other threads have sent meanwhile. */
  readonly takeMessages?: () => void;
  /** Milliseconds on a clock that never goes back. */
  readonly now?: () => number;
  /** Milliseconds to wait before each attempt to open a lost device again. */
  readonly reopenDelaysMs?: readonly number[];
}

export class LocalEngine implements Engine {
  readonly #options: LocalEngineOptions;
  readonly #now: () => number;
  readonly #loop: Promise<void>;
  readonly #inFlight: InFlight;
  readonly #idle: Idle;
  readonly #grammars = new GrammarPool(() => this.#served!.grammarVocabulary(), () => this.#idle.wake());
  #state: EngineState = { phase: "loading", progress: 0 };
  #served: ServedModel | undefined;
  #runner: ModelRunner | undefined;
  #scheduler: Scheduler | undefined;
  #admission: Admission | undefined;
  /** Why the present runner's device is gone, once it is. */
  #lost: string | undefined;
  #closed = false;
  #steps: StepsInFlight | undefined;
  /** The step after the one that is waited for or told of, where it has begun. */
  #ahead: StepInFlight | undefined;
  /** When the device was last done with a step. */
  #doneAt = -Infinity;
  readonly #delivery: StepDelivery;
  readonly #pacer = new Pacer();
  readonly #placeStats = new PlaceStats();
  readonly #counts = { typeThroughHits: 0 };
  readonly #typeThrough: TypeThrough | undefined;

  /** Starts to load the model; `state` says how far that is. */
  constructor(options: LocalEngineOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#idle = new Idle(this.#now);
    this.#inFlight = new InFlight(this.#now, (sequence) => this.#scheduler!.finish(sequence));
    this.#delivery = new StepDelivery(this.#inFlight, () => this.#served!.endIds, this.#now);
    if ((options.typeThrough ?? true) && (options.cachePrompts ?? true)) {
      this.#typeThrough = new TypeThrough();
    }
    this.#loop = this.#run();
  }

  get state(): EngineState {
    return this.#state;
  }

  get model(): ModelInfo {
    return this.#requireServed().info;
  }

  submit(request: GenerationRequest, signal?: AbortSignal): AsyncIterable<GenerationEvent> {
    try {
      signal?.throwIfAborted();
      this.#requireServed();
      if ((request.priority ?? "live") === "live") this.#pacer.liveArrived(this.#now());
      const { events, generation } = this.#admission!.admit(request);
      if (generation) {
        const abort = () => this.#inFlight.abort(generation, signal!.reason);
        signal?.addEventListener("abort", abort, { once: true });
      } else this.#counts.typeThroughHits++;
      this.#idle.wake();
      return events;
    } catch (error) {
      const refused = new EventQueue<GenerationEvent>(() => {});
      refused.fail(error);
      return refused;
    }
  }

  // deno-lint-ignore require-await -- throws as a rejection
  async tokenize(text: string, options: { parseSpecial?: boolean } = {}): Promise<number[]> {
    return this.#requireServed().tokenizer.encode(text, options);
  }

  // deno-lint-ignore require-await -- throws as a rejection
  async detokenize(ids: readonly number[]): Promise<string> {
    return this.#requireServed().detokenize(ids);
  }

  // deno-lint-ignore require-await -- throws as a rejection
  async tokenBytes(ids: readonly number[]): Promise<Uint8Array[]> {
    return this.#requireServed().tokenBytes(ids);
  }

  stats(): Promise<EngineStats> {
    return Promise.resolve({
      ...this.#counts,
      ...this.#delivery.counts,
      ...this.#inFlight.counts,
      ...this.#placeStats.counts,
    });
  }

  // deno-lint-ignore require-await -- throws as a rejection
  async sequences({ withPrompts = false } = {}): Promise<SequenceInfo[]> {
    const { tokenizer } = this.#requireServed();
    const options = { now: this.#now(), ...(withPrompts && { tokenizer }) };
    const { running, waiting } = this.#scheduler!.places;
    return [...running, ...waiting].flatMap((sequence) => {
      const generation = this.#inFlight.of(sequence);
      return generation ? [describeSequence(sequence, generation, options)] : [];
    });
  }

  // deno-lint-ignore require-await -- throws as a rejection
  async blocks(): Promise<BlockMap> {
    this.#requireServed();
    return this.#scheduler!.places.blockMap;
  }

  /** Ends all requests, waits for the step or the load that is under way, and gives the model back. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#inFlight.failAll(() => new EngineUnavailableError("The engine was closed", "closed"));
      this.#idle.wake();
    }
    await this.#loop;
  }

  async #run() {
    try {
      await this.#open();
      while (!this.#closed) {
        if (this.#lost !== undefined) await this.#rebuild(this.#lost);
        else await this.#advance();
      }
    } catch (error) {
      this.#fail(error);
    } finally {
      this.#grammars[Symbol.dispose]();
      await this.#ahead?.result.catch(() => {});
      if (this.#runner) await disposeQuietly(this.#runner);
    }
  }

  #enter(state: EngineState) {
    this.#state = state;
    this.#options.onState?.(state);
  }

  async #open() {
    const loaded = await this.#options.openModel((progress) => this.#enter({ phase: "loading", progress }));
    await this.#serve(loaded);
    this.#enter({ phase: "ready" });
  }

  async #serve(loaded: LoadedModel) {
    try {
      const served = new ServedModel(loaded, this.#options);
      const speculates = this.#options.speculation ?? true;
      const scheduler = new Scheduler(loaded.runner.limits, {
        speculation: speculates
          ? new Speculation({ neverDrafted: served.endIds, redoes: served.isRecurrent })
          : undefined,
        goesAhead: loaded.runner.stepsInFlight > 1,
      });
      this.#admission = new Admission({
        ...this.#options,
        served,
        scheduler,
        inFlight: this.#inFlight,
        grammars: this.#grammars,
        typeThrough: this.#typeThrough,
        now: this.#now,
        msOf: (rows) => this.#pacer.msOf(rows),
      });
      [this.#served, this.#scheduler] = [served, scheduler];
      this.#placeStats.watch(scheduler.places);
    } catch (error) {
      await disposeQuietly(loaded.runner);
      throw error;
    }
    this.#runner = loaded.runner;
    this.#steps = new StepsInFlight(loaded.runner, this.#now);
    this.#ahead = undefined;
    this.#lost = undefined;
    loaded.runner.lost.then((reason) => {
      if (this.#runner !== loaded.runner) return;
      this.#steps!.abandon(new DeviceLostError(reason));
      if (this.#closed) return;
      this.#lost ??= reason;
      this.#idle.wake();
    });
  }

  /** One step, or a wait for work. */
  async #advance() {
    const scheduler = this.#scheduler!;
    this.#inFlight.enforceDeadlines();
    const current = this.#ahead ?? this.#beginStep();
    if (!current) {
      return await this.#idle.rest(
        () => scheduler.places.checkIntegrity(),
        this.#inFlight.generations.size > 0,
      );
    }
    this.#ahead = this.#beginAhead(current);
    const result = await this.#resultOf(current);
    const now = this.#now(), ms = now - Math.max(current.begunAt, this.#doneAt);
    this.#doneAt = now;
    if (this.#ahead) this.#started(this.#ahead, now);
    let deliverRest = () => {};
    if (result) {
      this.#pacer.stepTook(current.step, ms);
      deliverRest = this.#delivery.deliver(scheduler, current.step, result, ms);
    }
    const overlaps = this.#steps!.overlap;
    if (!overlaps) deliverRest();
    // A runner may resolve without ever leaving this turn of the event loop; cancellations arrive in the next.
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#options.takeMessages?.();
    await this.#grammars.settle();
    if (!overlaps) return;
    // The device has its next step before the tokens of this one are told.
    if (this.#lost === undefined && !this.#closed && !this.#ahead) {
      this.#inFlight.enforceDeadlines({ cuts: false }); // Or who has waited for too long would be served after all.
      this.#ahead = this.#beginStep();
      await undefined; // A runner that waits for the step before submits this one in a microtask.
    }
    deliverRest();
  }

  /** Undefined when there is nothing to do. */
  #beginStep(): StepInFlight | undefined {
    const step = this.#scheduler!.schedule(this.#pacer.paceAt(this.#now()));
    if (step.length === 0) return undefined;
    const begun = this.#begin(step);
    this.#started(begun, begun.begunAt);
    return begun;
  }

  #begin(step: readonly ScheduledSequence[]): StepInFlight {
    return this.#steps!.begin(step, this.#scheduler!.beginMoves());
  }

  /** The device works on it: one that has begun ahead waits for the step before. */
  #started({ step }: StepInFlight, now: number) {
    for (const { sequence } of step) this.#inFlight.of(sequence)?.start(now);
  }

  /** The step after `current`, where the runner takes it now and it is known. Whoever comes meanwhile waits a step more. */
  #beginAhead({ step }: StepInFlight): StepInFlight | undefined {
    const ahead = this.#steps!.hasRoom
      ? this.#scheduler!.scheduleAhead(step, this.#pacer.paceAt(this.#now()))
      : undefined;
    return ahead && this.#begin(ahead);
  }

  /** The step's result; undefined when it failed, and with it its requests. */
  async #resultOf({ step, result }: StepInFlight): Promise<StepResult | undefined> {
    try {
      return await result;
    } catch (error) {
      if (error instanceof DeviceLostError) this.#lost ??= error.message;
      else {
        for (const { sequence } of step) this.#inFlight.end(this.#inFlight.of(sequence), error);
        this.#scheduler!.abandon();
      }
      return undefined;
    }
  }

  /** The device is gone: requests that it worked on, or holds blocks for, fail, the model is opened anew, and the queue goes on. */
  async #rebuild(reason: string) {
    this.#enter({ phase: "rebuilding", reason });
    for (const generation of this.#inFlight.generations) {
      // Whoever waits for a mask may have blocks of the device before any step has worked on it.
      const lost = generation.started || generation.sequences.some(({ state }) => state === "running");
      if (lost) this.#inFlight.end(generation, deviceLostError(reason));
    }
    this.#steps!.abandon(new DeviceLostError(reason));
    this.#ahead = undefined;
    const runner = this.#runner!;
    this.#runner = undefined;
    await disposeQuietly(runner);
    const loaded = await reopenModel({
      openModel: () => this.#options.openModel(() => {}),
      delaysMs: this.#options.reopenDelaysMs ?? DEFAULT_REOPEN_DELAYS_MS,
      isClosed: () => this.#closed,
    });
    const before = this.#scheduler!;
    await this.#serve(loaded);
    for (const sequence of before.places.waiting) this.#requeue(sequence, reason);
    this.#enter({ phase: "ready" });
  }

  #requeue(sequence: Sequence, reason: string) {
    if (!this.#inFlight.has(sequence)) return; // It went with another sample of its request.
    try {
      this.#scheduler!.add(sequence);
    } catch {
      this.#inFlight.end(this.#inFlight.of(sequence), deviceLostError(reason)); // The new device has less memory.
    }
  }

  #fail(error: unknown) {
    const reason = error instanceof Error ? error.message : String(error);
    this.#enter({ phase: "failed", reason });
    this.#inFlight.failAll(() => new EngineUnavailableError(`The engine has failed: ${reason}`, "failed"));
  }

  /** @throws {EngineUnavailableError} */
  #requireServed(): ServedModel {
    if (this.#closed) throw new EngineUnavailableError("The engine was closed", "closed");
    const state = this.#state;
    if (state.phase === "failed") {
      throw new EngineUnavailableError(`The engine has failed: ${state.reason}`, "failed");
    }
    if (!this.#served) {
      throw new EngineUnavailableError("The model is still loading; try again shortly", "loading", 2);
    }
    return this.#served;
  }
}
