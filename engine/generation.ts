// One request in flight: turns the tokens and scores that steps deliver into the request's events. Knows no
// scheduler and no runner.
import type { TokenScore } from "../kernels/step.ts";
import { verdictAt } from "./deadlines.ts";
import { EventQueue } from "./event_queue.ts";
import type { OutputCleaner } from "./output_rules.ts";
import type { FimLayout, FinishReason, GenerationEvent, GenerationRequest, TokenLogprob } from "./request.ts";
import { SampleText } from "./sample_text.ts";
import type { LogitAdjuster } from "./sampling.ts";
import type { Sequence } from "./sequence.ts";
import type { Tokenizer } from "./tokenizer.ts";
import type { GivenCompletion } from "./type_through.ts";

/** A prompt as the model sees it. */
export interface EncodedPrompt {
  readonly ids: readonly number[];
  readonly layout?: FimLayout;
  readonly truncated: boolean;
  /** The text it was made from, where there is one. */
  readonly text?: string;
  /** Where it was backed up (`token_healing.ts`): `ids` are what is left of it. */
  readonly healing?: { readonly bytes: string; readonly wholeIds: readonly number[] };
}

/** The prompt's own tokens, whether or not it was backed up. */
export function wholePromptIds({ ids, healing }: EncodedPrompt): readonly number[] {
  return healing?.wholeIds ?? ids;
}

/** Where a request, or one of its sequences, is on its way. */
export type Stage = "queue" | "prefill" | "decode";

export interface Sample {
  readonly index: number;
  readonly sequence: Sequence;
  readonly adjuster: LogitAdjuster;
}

export interface GenerationOptions {
  readonly request: GenerationRequest;
  readonly prompt: EncodedPrompt;
  /** One per sequence; a request for no new tokens has a single one, whatever its `n`. */
  readonly samples: readonly Sample[];
  readonly tokenizer: Tokenizer;
  readonly endIds: ReadonlySet<number>;
  /** The request's output rules, for one sample. */
  readonly newCleaner: () => OutputCleaner;
  /** Milliseconds on the engine's clock. */
  readonly submittedAt: number;
  readonly onCancel: (generation: Generation) => void;
  /** Told of every sample that ends by itself. */
  readonly onFinished?: ((given: GivenCompletion) => void) | undefined;
}

export class Generation {
  readonly events: EventQueue<GenerationEvent>;
  readonly #options: GenerationOptions;
  readonly #texts: ReadonlyMap<Sequence, SampleText>;
  readonly #promptScores: TokenScore[] = [];
  #startedAt: number | undefined;
  /** Since when it is held, and milliseconds that it was held before. */
  #heldSince: number | undefined;
  #heldMs = 0;
  #promptComputed = false;
  /** Time or a newer request ended it: what there is of it is no completion to be given again. */
  #cutShort = false;
  #unfinished: number;

  constructor(options: GenerationOptions) {
    this.#options = options;
    this.events = new EventQueue(() => options.onCancel(this));
    this.#texts = new Map(
      options.samples.map((sample) => [sample.sequence, new SampleText(sample, options)]),
    );
    this.#unfinished = options.samples.length;
    if (!this.#scoresPrompt) this.#pushPrompt();
  }

  get sequences(): Sequence[] {
    return [...this.#texts.keys()];
  }

  /** Whether any step has worked on it: what it has delivered cannot be had again. */
  get started(): boolean {
    return this.#startedAt !== undefined;
  }

  get request(): GenerationRequest {
    return this.#options.request;
  }

  get submittedAt(): number {
    return this.#options.submittedAt;
  }

  get stage(): Stage {
    if (!this.started) return "queue";
    return this.#promptComputed ? "decode" : "prefill";
  }

  sampleOf(sequence: Sequence): number {
    return this.#texts.get(sequence)!.sample.index;
  }

  /** As the client knows it: the sequences' prompts may have been backed up. */
  get promptIds(): readonly number[] {
    return wholePromptIds(this.#options.prompt);
  }

  /** The completion's tokens so far: neither an end token nor what only spells what was typed. */
  numTokensOf(sequence: Sequence): number {
    return this.#texts.get(sequence)!.numTokens;
  }

  /** Whether the completion's text, as far as it was delivered, has a line break. */
  hasNewLineOf(sequence: Sequence): boolean {
    return this.#texts.get(sequence)!.hasNewLine;
  }

  /** What its deadlines have to say at this time; see `verdictAt`. */
  verdictAt(now: number): "fail" | "cut" | undefined {
    const { deadlines, maxTokens } = this.#options.request;
    const verdict = deadlines && verdictAt(now, deadlines, {
      submittedAt: this.submittedAt,
      startedAt: this.#startedAt === undefined ? undefined : this.#startedAt + this.#heldUntil(now),
      promptComputed: this.#promptComputed,
      draws: maxTokens !== 0,
    });
    // A prompt to be scored has nothing to show before all of it is.
    return verdict === "cut" && this.#scoresPrompt && !this.#promptComputed ? "fail" : verdict;
  }

  /** Ends every sample with what it has. */
  cut(now: number, reason: "length" | "superseded" = "length") {
    this.#cutShort = true;
    if (this.#options.request.maxTokens === 0) return this.#finishPrompt(reason, now);
    for (const text of this.#texts.values()) if (!text.ended) this.#finish(text, reason, now);
  }

  /** A step begins that works on it. */
  start(now: number) {
    this.#startedAt ??= now;
    this.#heldMs = this.#heldUntil(now);
    this.#heldSince = undefined;
  }

  /** Such a step has ended; the prompt is read but for the row to draw from, and what that may draw is not known yet. */
  hold(now: number) {
    if (!this.#promptComputed) this.#heldSince = now;
  }

  #heldUntil(now: number): number {
    return this.#heldMs + (this.#heldSince === undefined ? 0 : now - this.#heldSince);
  }

  addPromptScore(score: TokenScore) {
    this.#promptScores.push(score);
  }

  /** The prompt is computed, and scored where that was asked for. */
  promptComputed(sequence: Sequence, now: number) {
    if (this.#scoresPrompt && sequence.leader === undefined) this.#pushPrompt();
    this.#promptComputed = true;
    if (sequence.maxTokens === 0) this.#finishPrompt("length", now);
  }

  /** A drawn token. @returns true when it ends its sample */
  addToken(sequence: Sequence, id: number, score: TokenScore | undefined, now: number): boolean {
    const text = this.#texts.get(sequence)!;
    text.sample.adjuster.count(id);
    text.numDrawn++;
    if (text.detokenizer.isTyped(id)) {
      text.detokenizer.push(id);
      text.addScore(score);
      return this.#finishAtLimit(text, sequence, now);
    }
    text.firstTokenAt ??= now;
    if (this.#options.endIds.has(id) && !this.#options.request.ignoreEos) {
      return this.#finish(text, "eos", now);
    }
    text.numTokens++;
    text.addScore(score);
    const { text: piece, stop } = text.stop.push(text.detokenizer.push(id));
    const cleaned = text.cleaner.push(piece);
    text.hasNewLine ||= cleaned.includes("\n");
    const event = { kind: "token" as const, sample: text.sample.index, id, text: cleaned };
    const shown = this.#options.request.logprobs !== undefined && score;
    this.events.push(shown ? { ...event, logprob: this.#tokenLogprob(id, shown) } : event);
    if (this.#options.onFinished) text.events.push(event);
    if (text.cleaner.ended) return this.#finish(text, "rule", now);
    if (stop !== undefined) return this.#finish(text, "stop", now, stop);
    const { predictMs = Infinity } = this.#options.request.deadlines ?? {};
    if (piece.includes("\n") && now - text.firstTokenAt > predictMs) {
      this.#cutShort = true;
      return this.#finish(text, "length", now);
    }
    return this.#finishAtLimit(text, sequence, now);
  }

  /** Ends a sample whose last token leaves no room for another. @returns whether it did */
  #finishAtLimit(text: SampleText, sequence: Sequence, now: number): boolean {
    if (sequence.constraintEnded) return this.#finish(text, "eos", now);
    const { maxTokens = Infinity } = this.#options.request;
    if (text.numTokens < maxTokens && text.numDrawn < sequence.maxTokens) return false;
    return this.#finish(text, "length", now);
  }

  get #scoresPrompt(): boolean {
    const { echoPrompt, logprobs } = this.#options.request;
    return echoPrompt === true && logprobs !== undefined;
  }

  /** Ends a request for no new tokens, whose samples are one sequence. */
  #finishPrompt(reason: FinishReason, now: number) {
    const { request: { n = 1 }, samples: [{ sequence }] } = this.#options;
    for (let sample = 0; sample < n; sample++) {
      this.#pushFinish(this.#texts.get(sequence)!, reason, now, sample);
    }
    this.#sampleEnded();
  }

  #finish(text: SampleText, reason: FinishReason, now: number, stopString?: string): true {
    text.ended = true;
    this.#pushFinish(text, reason, now, text.sample.index, stopString);
    this.#sampleEnded();
    return true;
  }

  #sampleEnded() {
    if (--this.#unfinished === 0) this.events.close();
  }

  #pushFinish(text: SampleText, reason: FinishReason, now: number, sample: number, stopString?: string) {
    const startedAt = this.#startedAt ?? now, firstTokenAt = text.firstTokenAt ?? now;
    const heldMs = this.#heldUntil(now);
    const rest = text.cleaner.push(text.stop.flush()) + text.cleaner.flush();
    const rules = text.cleaner.acted, { request } = this.#options;
    const { numDrafted: drafted, numAccepted: accepted } = text.sample.sequence;
    const finish = {
      kind: "finish" as const,
      sample,
      reason,
      ...(stopString !== undefined && { stopString }),
      text: rest,
      ...(rules.length > 0 && { rules }),
      completionTokens: text.numTokens,
      ...(request.rankSamples && text.meanLogprob),
      cachedTokens: this.#options.samples[0].sequence.numCachedTokens ?? 0,
      ...(drafted > 0 && { drafts: { drafted, accepted } }),
      timings: {
        queueMs: startedAt - this.#options.submittedAt + heldMs,
        promptMs: firstTokenAt - startedAt - heldMs,
        predictedMs: now - firstTokenAt,
      },
    };
    this.events.push(finish);
    if (!this.#cutShort) this.#options.onFinished?.({ tokens: text.events, finish });
  }

  #pushPrompt() {
    const { prompt, request, tokenizer } = this.#options, tokenIds = this.promptIds;
    this.events.push({
      kind: "prompt",
      tokenIds,
      ...(prompt.layout && { layout: prompt.layout }),
      truncated: prompt.truncated,
      ...(prompt.healing && { healed: prompt.healing.bytes.length }),
      ...((request.echoPrompt || request.promptText) && { text: prompt.text ?? tokenizer.decode(tokenIds) }),
      ...(this.#scoresPrompt && { tokens: this.#promptTokens() }),
    });
  }

  #promptTokens(): TokenLogprob[] {
    const { tokenizer, prompt } = this.#options;
    return prompt.ids.map((id, index) =>
      index === 0
        ? { id, text: tokenizer.decode([id]), logprob: null, top: [] }
        : this.#tokenLogprob(id, this.#promptScores[index - 1])
    );
  }

  #tokenLogprob(id: number, { logprob, top }: TokenScore): TokenLogprob {
    const { tokenizer } = this.#options;
    const alternatives = top.map((other) => ({ ...other, text: tokenizer.decode([other.id]) }));
    return { id, text: tokenizer.decode([id]), logprob, top: alternatives };
  }
}
