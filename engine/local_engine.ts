// The engine in this thread: owns the loop schedule -> pack -> run -> events, the requests in flight, and the model,
// which it opens anew when the device is lost. Device work blocks, so servers run it in a worker (`worker_engine.ts`).
import { setImmediate } from "node:timers";
import { DeviceLostError } from "../device/device_lost_error.ts";
import type { StepResult } from "../kernels/step.ts";
import type { LoadedModel, OnProgress } from "../models/loaded_model.ts";
import type { ModelRunner } from "../models/runner.ts";
import { packBatch } from "./batch.ts";
import type { Engine, EngineState, EngineStats, ModelInfo } from "./engine.ts";
import { DEFAULT_MAX_WAITING, type EngineOptions } from "./engine_options.ts";
import { EngineUnavailableError, InvalidRequestError } from "./errors.ts";
import { EventQueue } from "./event_queue.ts";
import { InFlight } from "./in_flight.ts";
import { type EncodedPrompt, Generation, type GenerationOptions } from "./generation.ts";
import { type OutputPlan, planOutput } from "./output_plan.ts";
import type { CacheSpace } from "./prefix_cache.ts";
import type { GenerationEvent, GenerationRequest } from "./request.ts";
import { type ScheduledSequence, Scheduler } from "./scheduler.ts";
import { rankOf } from "./priority.ts";
import { cacheSpaceOf, makeSamples, numSequencesOf } from "./samples.ts";
import type { Sequence } from "./sequence.ts";
import { describeSequence, type SequenceInfo } from "./sequence_info.ts";
import { disposeQuietly, reopenModel } from "./reopen_model.ts";
import { ServedModel } from "./served_model.ts";
import { StepStats } from "./step_stats.ts";
import { answerEvents, type GivenCompletion, TypeThrough } from "./type_through.ts";
import { validateRequest } from "./validate_request.ts";

export interface LocalEngineOptions extends
  Pick<
    EngineOptions,
    "modelId" | "fimTokens" | "fimLayout" | "outputRules" | "typeThrough" | "cachePrompts" | "maxWaiting"
  > {
  /** Opens the model: at first, and again whenever its device was lost. */
  readonly openModel: (onProgress: OnProgress) => Promise<LoadedModel>;
  /** Told of every change of `state`. */
  readonly onState?: (state: EngineState) => void;
  /** Milliseconds on a clock that never goes back. */
  readonly now?: () => number;
  /** Milliseconds to wait before each attempt to open a lost device again. */
  readonly reopenDelaysMs?: readonly number[];
}

const DEFAULT_REOPEN_DELAYS_MS = [0, 1_000, 5_000];

export class LocalEngine implements Engine {
  readonly #options: LocalEngineOptions;
  readonly #now: () => number;
  readonly #loop: Promise<void>;
  readonly #inFlight: InFlight;
  #state: EngineState = { phase: "loading", progress: 0 };
  #served: ServedModel | undefined;
  #runner: ModelRunner | undefined;
  #scheduler: Scheduler | undefined;
  /** Why the present runner's device is gone, once it is. */
  #lost: string | undefined;
  #closed = false;
  #wake: () => void = () => {};
  /** Ends the wait for the step under way, which a lost device may never answer. */
  #abandonStep: (error: Error) => void = () => {};
  readonly #counts = {
    steps: 0,
    promptTokens: 0,
    cachedTokens: 0,
    generatedTokens: 0,
    typeThroughHits: 0,
    preemptions: 0,
    parks: 0,
    unparks: 0,
  };
  readonly #stepStats = new StepStats();
  readonly #typeThrough: TypeThrough | undefined;

  /** Starts to load the model; `state` says how far that is. */
  constructor(options: LocalEngineOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#inFlight = new InFlight(this.#now, (sequence) => this.#scheduler!.finish(sequence));
    if ((options.typeThrough ?? true) && (options.cachePrompts ?? true)) {
      this.#typeThrough = new TypeThrough();
    }
    this.#loop = this.#run();
  }

  get #maxWaiting(): number {
    return this.#options.maxWaiting ?? DEFAULT_MAX_WAITING;
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
      const plan = this.#plan(request);
      const given = this.#typeThrough?.find(request);
      if (given) return this.#answer(plan.request, given);
      const generation = this.#admit(plan, this.#typeThrough?.recorder(request));
      signal?.addEventListener("abort", () => this.#inFlight.abort(generation, signal.reason), {
        once: true,
      });
      return generation.events;
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
    const { tokenizer, info } = this.#requireServed();
    const wrong = ids.find((id) => !(id >= 0 && id < info.vocabSize));
    if (wrong === undefined) return tokenizer.decode(ids);
    throw new InvalidRequestError(
      `Cannot detokenize: ids must be from 0 to ${info.vocabSize - 1}, received ${wrong}`,
      {
        field: "tokens",
        reason: "invalid_value",
      },
    );
  }

  stats(): Promise<EngineStats> {
    const places = this.#scheduler?.places;
    return Promise.resolve({
      ...this.#counts,
      ...this.#stepStats.counts,
      ...this.#inFlight.counts,
      waiting: places?.waiting.length ?? 0,
      running: places?.running.length ?? 0,
      freeBlocks: places?.numFreeBlocks ?? 0,
      cachedBlocks: places?.numCachedBlocks ?? 0,
      totalBlocks: places?.numBlocks ?? 0,
      parkedBlocks: places?.numParkedBlocks ?? 0,
      hostBlocks: places?.numHostBlocks ?? 0,
      parks: this.#counts.parks + (places?.numMoved.parks ?? 0),
      unparks: this.#counts.unparks + (places?.numMoved.unparks ?? 0),
      preemptions: this.#counts.preemptions + (places?.numPreemptions ?? 0),
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

  /** Ends all requests, waits for the step or the load that is under way, and gives the model back. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#inFlight.failAll(() => new EngineUnavailableError("The engine was closed", "closed"));
      this.#wake();
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
      this.#served = new ServedModel(loaded, this.#options);
      this.#scheduler = new Scheduler(loaded.runner.limits);
    } catch (error) {
      await disposeQuietly(loaded.runner);
      throw error;
    }
    this.#runner = loaded.runner;
    this.#lost = undefined;
    loaded.runner.lost.then((reason) => {
      if (this.#runner !== loaded.runner || this.#closed) return;
      this.#lost ??= reason;
      this.#abandonStep(new DeviceLostError(reason));
      this.#wake();
    });
  }

  /** One step, or a wait for work. */
  async #advance() {
    const scheduler = this.#scheduler!;
    this.#inFlight.enforceDeadlines();
    const step = scheduler.schedule();
    if (step.length === 0) {
      scheduler.places.checkIntegrity();
      await new Promise<void>((resolve) => this.#wake = resolve);
      return;
    }
    const startedAt = this.#now();
    for (const { sequence } of step) this.#inFlight.of(sequence)!.start(startedAt);
    const result = await this.#runStep(step);
    if (result) {
      this.#counts.steps++;
      this.#stepStats.record(step);
      this.#deliver(step, result);
    }
    // A runner may resolve without ever leaving this turn of the event loop; cancellations arrive in the next.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }

  /** The step's result; undefined when it failed, and with it its requests. */
  async #runStep(step: readonly ScheduledSequence[]): Promise<StepResult | undefined> {
    try {
      return await new Promise<StepResult>((resolve, reject) => {
        this.#abandonStep = reject;
        this.#runner!.step(packBatch(step, this.#scheduler!.moves)).then(resolve, reject);
      });
    } catch (error) {
      if (error instanceof DeviceLostError) this.#lost ??= error.message;
      else {
        for (const { sequence } of step) this.#inFlight.end(this.#inFlight.of(sequence), error);
        this.#scheduler!.abandon();
      }
      return undefined;
    }
  }

  #deliver(step: readonly ScheduledSequence[], { tokenIds, scores }: StepResult) {
    const now = this.#now();
    const prompts = new Set(step.map(({ sequence }) => sequence).filter(({ promptDone }) => !promptDone));
    this.#scheduler!.complete(step);
    let sample = 0;
    for (const { sequence, scoreStart, scoreEnd, draws } of step) {
      const first = sample;
      sample += scoreEnd - scoreStart + (draws ? 1 : 0);
      const generation = this.#inFlight.of(sequence);
      if (!generation) continue; // Cancelled while the step ran.
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

  /** @throws {InvalidRequestError | EngineUnavailableError} */
  #plan(request: GenerationRequest): OutputPlan {
    const { info, tokenizer } = this.#requireServed();
    validateRequest(request, { vocabSize: info.vocabSize, maxSamples: this.#maxWaiting });
    return planOutput(request, this.#options.outputRules, (ids) => tokenizer.decode(ids));
  }

  /** @throws {InvalidRequestError} when the prompt does not fit the context */
  #encode(request: GenerationRequest, cacheSpace: CacheSpace): EncodedPrompt {
    return this.#requireServed().encodePrompt(
      request,
      (ids) => this.#scheduler!.places.countCached(cacheSpace, ids),
    );
  }

  /** Answers with what an earlier completion has left; the prompt is encoded to be counted, and checked as ever. */
  #answer(request: GenerationRequest, given: GivenCompletion): EventQueue<GenerationEvent> {
    const prompt = this.#encode(request, cacheSpaceOf(request, true));
    for (const older of this.#inFlight.outdatedBy(request)) this.#inFlight.supersede(older);
    this.#counts.typeThroughHits++;
    const events = new EventQueue<GenerationEvent>(() => {});
    for (const event of answerEvents(prompt, given)) events.push(event);
    events.close();
    return events;
  }

  /** @throws {InvalidRequestError | EngineUnavailableError} */
  #admit({ request, newCleaner }: OutputPlan, onFinished: GenerationOptions["onFinished"]): Generation {
    const served = this.#requireServed();
    const outdated = this.#inFlight.outdatedBy(request);
    this.#requireRoom(request, this.#maxWaiting, outdated);
    const cacheSpace = cacheSpaceOf(request, this.#options.cachePrompts ?? true);
    const prompt = this.#encode(request, cacheSpace);
    const generation = new Generation({
      request,
      prompt,
      samples: makeSamples(request, prompt, served, cacheSpace),
      tokenizer: served.tokenizer,
      endIds: served.endIds,
      newCleaner,
      submittedAt: this.#now(),
      onCancel: (cancelled) => this.#inFlight.cancel(cancelled),
      onFinished,
    });
    for (const older of outdated) this.#inFlight.supersede(older);
    for (const sequence of generation.sequences) this.#scheduler!.add(sequence);
    this.#inFlight.add(generation, request);
    this.#wake();
    return generation;
  }

  /** The device is gone: requests that it worked on fail, the model is opened anew, and the queue goes on. */
  async #rebuild(reason: string) {
    this.#enter({ phase: "rebuilding", reason });
    for (const generation of this.#inFlight.generations) {
      if (generation.started) this.#inFlight.end(generation, deviceLostError(reason));
    }
    const runner = this.#runner!;
    this.#runner = undefined;
    await disposeQuietly(runner);
    const loaded = await reopenModel({
      openModel: () => this.#options.openModel(() => {}),
      delaysMs: this.#options.reopenDelaysMs ?? DEFAULT_REOPEN_DELAYS_MS,
      isClosed: () => this.#closed,
    });
    const before = this.#scheduler!;
    this.#counts.preemptions += before.places.numPreemptions;
    this.#counts.parks += before.places.numMoved.parks;
    this.#counts.unparks += before.places.numMoved.unparks;
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

  /**
   * Each class has a queue of its own length, so that a flood of one turns nobody of another away.
   * @throws {EngineUnavailableError} when the class's queue is full, not counting what the request supersedes
   */
  #requireRoom(request: GenerationRequest, maxWaiting: number, outdated: ReadonlySet<Generation>) {
    const { priority = "live" } = request;
    const waiting = this.#scheduler!.places.waiting.filter((sequence) =>
      sequence.rank === rankOf(priority) && !outdated.has(this.#inFlight.of(sequence)!)
    );
    if (waiting.length + numSequencesOf(request) <= maxWaiting) return;
    throw new EngineUnavailableError(
      `Cannot admit request: ${waiting.length} of at most ${maxWaiting} ${priority} completions are waiting; ` +
        "try again later",
      "queue_full",
    );
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

function deviceLostError(reason: string): EngineUnavailableError {
  return new EngineUnavailableError(
    `The device was lost: ${reason}; the request can be sent again`,
    "device_lost",
  );
}
