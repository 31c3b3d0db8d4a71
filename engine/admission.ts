// Takes a request in: checks it, encodes its prompt, answers it from what an earlier completion left, or queues its
// samples where there is room. Belongs to one loaded model; a model opened anew has an admission of its own.
import { DEFAULT_MAX_WAITING, type EngineOptions } from "./engine_options.ts";
import { EngineUnavailableError } from "./errors.ts";
import { EventQueue } from "./event_queue.ts";
import { type EncodedPrompt, Generation, type GenerationOptions, wholePromptIds } from "./generation.ts";
import type { GrammarPool } from "./grammar_pool.ts";
import type { InFlight } from "./in_flight.ts";
import { type OutputPlan, planOutput } from "./output_plan.ts";
import type { CacheSpace } from "./prefix_cache.ts";
import { rankOf } from "./priority.ts";
import type { GenerationEvent, GenerationRequest } from "./request.ts";
import { cacheSpaceOf, makeSamples, numSequencesOf } from "./samples.ts";
import type { Scheduler } from "./scheduler.ts";
import type { ServedModel } from "./served_model.ts";
import { answerEvents, type GivenCompletion, type TypeThrough } from "./type_through.ts";
import { type LayoutChoice, WarmLayouts } from "./warm_layouts.ts";
import { validateRequest } from "./validate_request.ts";

export interface AdmissionOptions
  extends Pick<EngineOptions, "outputRules" | "cachePrompts" | "warmUp" | "maxWaiting"> {
  readonly served: ServedModel;
  readonly scheduler: Scheduler;
  readonly inFlight: InFlight;
  readonly grammars: GrammarPool;
  readonly typeThrough: TypeThrough | undefined;
  /** Milliseconds on the engine's clock. */
  readonly now: () => number;
  /** What a step of so many rows takes, milliseconds. */
  readonly msOf: (rows: number) => number;
}

/** A request that was taken in. */
export interface Admitted {
  readonly events: EventQueue<GenerationEvent>;
  /** Undefined when the answer was there already. */
  readonly generation?: Generation;
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #warmLayouts: WarmLayouts | undefined;

  constructor(options: AdmissionOptions) {
    const { served, inFlight, msOf, warmUp = true, cachePrompts = true } = options;
    this.#options = options;
    if (!warmUp || !cachePrompts) return; // Nobody would find what was computed ahead.
    this.#warmLayouts = new WarmLayouts({
      msOf,
      steadyPart: (ids, layout) => served.steadyPart(ids, layout),
      warm: (ids, request) => this.#warm(ids, request),
      withdraw: (generation) => inFlight.withdraw(generation),
    });
  }

  /**
   * @throws {InvalidRequestError} naming the field at fault
   * @throws {EngineUnavailableError} when the queue of its class is full, not counting what the request supersedes
   */
  admit(request: GenerationRequest): Admitted {
    const { typeThrough } = this.#options;
    const plan = this.#plan(request);
    const given = typeThrough?.find(request);
    if (given) return { events: this.#answer(plan.request, given) };
    const generation = this.#queue(plan, typeThrough?.recorder(request));
    return { events: generation.events, generation };
  }

  #plan(request: GenerationRequest): OutputPlan {
    const { info, tokenizer } = this.#options.served;
    validateRequest(request, { vocabSize: info.vocabSize, maxSamples: this.#maxWaiting });
    return planOutput(request, this.#options.outputRules, (ids) => tokenizer.decode(ids));
  }

  #encode(request: GenerationRequest, cacheSpace: CacheSpace, choice?: LayoutChoice): EncodedPrompt {
    const { served, scheduler } = this.#options;
    const prompt = served.encodePrompt(request, {
      countCached: (ids) => scheduler.places.countCached(cacheSpace, ids),
      weigh: (layout, ids, cached) => choice ? choice.weigh(layout, ids, cached) : cached,
    });
    choice?.chose(prompt.layout);
    return prompt;
  }

  /** Answers with what an earlier completion has left; the prompt is encoded to be counted, and checked as ever. */
  #answer(request: GenerationRequest, given: GivenCompletion): EventQueue<GenerationEvent> {
    const { inFlight, served } = this.#options;
    const prompt = this.#encode(request, cacheSpaceOf(request, true));
    for (const older of inFlight.outdatedBy(request)) inFlight.supersede(older);
    const events = new EventQueue<GenerationEvent>(() => {});
    const text = request.promptText ? served.tokenizer.decode(wholePromptIds(prompt)) : undefined;
    for (const event of answerEvents(prompt, given, text)) events.push(event);
    events.close();
    return events;
  }

  #queue({ request, newCleaner }: OutputPlan, onFinished: GenerationOptions["onFinished"]): Generation {
    const { served, scheduler, inFlight, grammars, now } = this.#options;
    const outdated = inFlight.outdatedBy(request);
    this.#requireRoom(request, outdated);
    const cacheSpace = cacheSpaceOf(request, this.#options.cachePrompts ?? true);
    const choice = this.#warmLayouts?.begin(request);
    const prompt = this.#encode(request, cacheSpace, choice);
    const { grammar } = request;
    const openGrammar = () => grammar && grammars.open(grammar, (error) => inFlight.end(generation, error));
    const generation: Generation = new Generation({
      request,
      prompt,
      samples: makeSamples(request, prompt, served, cacheSpace, openGrammar),
      tokenizer: served.tokenizer,
      endIds: served.endIds,
      newCleaner,
      submittedAt: now(),
      onCancel: (cancelled) => inFlight.cancel(cancelled),
      onFinished: choice
        ? (given) => {
          onFinished?.(given);
          choice.answered((ids) => scheduler.places.countCached(cacheSpace, ids));
        }
        : onFinished,
    });
    for (const older of outdated) inFlight.supersede(older);
    for (const sequence of generation.sequences) scheduler.add(sequence);
    inFlight.add(generation, request);
    return generation;
  }

  /** Computes a prompt ahead of who may ask for it; not where others have to wait already. */
  #warm(ids: readonly number[], { cacheSalt, requester }: GenerationRequest): Generation | undefined {
    const { scheduler: { places }, served: { tokenizer } } = this.#options;
    if (places.waiting.length > 0) return undefined;
    const request: GenerationRequest = {
      prompt: { kind: "tokens", ids },
      maxTokens: 0,
      priority: "warm-up",
      requester: { ...(requester?.key !== undefined && { key: requester.key }) },
      ...(cacheSalt !== undefined && { cacheSalt }),
    };
    return this.#queue(planOutput(request, undefined, (ids) => tokenizer.decode(ids)), undefined);
  }

  /** Each class has a queue of its own length, so that a flood of one turns nobody of another away. */
  #requireRoom(request: GenerationRequest, outdated: ReadonlySet<Generation>) {
    const { scheduler, inFlight } = this.#options;
    const { priority = "live" } = request;
    const waiting = scheduler.places.waiting.filter((sequence) =>
      sequence.rank === rankOf(priority) && !outdated.has(inFlight.of(sequence)!)
    );
    if (waiting.length + numSequencesOf(request) <= this.#maxWaiting) return;
    throw new EngineUnavailableError(
      `Cannot admit request: ${waiting.length} of at most ${this.#maxWaiting} ${priority} completions are waiting; ` +
        "try again later",
      "queue_full",
    );
  }

  get #maxWaiting(): number {
    return this.#options.maxWaiting ?? DEFAULT_MAX_WAITING;
  }
}
