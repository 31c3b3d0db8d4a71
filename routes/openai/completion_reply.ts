// From the engine's events to OpenAI's completion objects. Each event becomes deltas of choices; a stream sends them one
// by one, a plain reply is their sum.
import type { ModelInfo } from "../../engine/engine.ts";
import type {
  DraftCounts,
  FinishReason,
  GenerationEvent,
  GenerationTimings,
  TokenLogprob,
} from "../../engine/request.ts";
import type { SampleRanks } from "../best_of.ts";
import type { PromptEvent } from "../generation.ts";
import type {
  CompletionChoice,
  CompletionLogprobs,
  CompletionReply,
  CompletionUsage,
} from "./completion_schema.ts";
import { type ReplyTimings, toReplyTimings } from "../reply_timings.ts";

/** JSON has no -Infinity; vLLM sends this instead. */
const LOWEST_LOGPROB = -9999;

type Finish = Extract<GenerationEvent, { kind: "finish" }>;
type Token = Extract<GenerationEvent, { kind: "token" }>;
type PromptRead = Extract<GenerationEvent, { kind: "prompt" }>;

/** Shapes the events of one HTTP request. Keeps the counts and offsets that run across them. */
export class CompletionShaper {
  readonly #header: Omit<CompletionReply, "choices" | "usage">;
  readonly #n: number;
  #promptTokens = 0;
  #cachedTokens = 0;
  #completionTokens = 0;
  #drafts: DraftCounts | undefined;
  /** Of the slowest prompt and the slowest sample so far. */
  #slowest: Pick<GenerationTimings, "promptMs" | "predictedMs"> = { promptMs: 0, predictedMs: 0 };
  readonly #promptLengths: number[] = [];
  /** What the model read, by prompt. */
  readonly #prompts = new Map<number, Pick<PromptRead, "layout" | "healed" | "truncated">>();
  /** Characters so far, by choice. */
  readonly #offsets = new Map<number, number>();

  /** `n` is the number of samples a prompt. */
  constructor(model: ModelInfo, n: number) {
    this.#n = n;
    this.#header = {
      id: `cmpl-${crypto.randomUUID()}`,
      object: "text_completion",
      created: Math.floor(Date.now() / 1000),
      model: model.id,
      system_fingerprint: `fp_hyades_${model.backend}`,
    };
  }

  /** What the event adds to the choices; nothing for a token whose text is not yet certain. */
  deltas({ prompt, event }: PromptEvent): CompletionChoice[] {
    switch (event.kind) {
      case "prompt":
        this.#promptLengths[prompt] = event.tokenIds.length;
        return this.#promptDeltas(prompt, event);
      case "token":
        return this.#tokenDeltas(prompt * this.#n + event.sample, event);
      case "finish":
        return [this.#finishDelta(prompt, event)];
    }
  }

  reply(choices: CompletionChoice[]): CompletionReply {
    const timings = toReplyTimings(this.#promptTokens, {
      completionTokens: this.#completionTokens,
      cachedTokens: this.#cachedTokens,
      timings: this.#slowest,
      drafts: this.#drafts,
    });
    return { ...this.#header, choices, usage: this.usage(), timings };
  }

  /** A chunk of a stream. `usage` is null in the chunks of a stream that ends with one that has it. */
  chunk(choices: CompletionChoice[], usage?: CompletionUsage | null): CompletionReply {
    return usage === undefined ? { ...this.#header, choices } : { ...this.#header, choices, usage };
  }

  /** Of the sample that ends with this event; undefined for any other event. */
  timings({ prompt, event }: PromptEvent): ReplyTimings | undefined {
    if (event.kind !== "finish") return undefined;
    return toReplyTimings(this.#promptLengths[prompt] ?? 0, event);
  }

  usage(): CompletionUsage {
    return {
      prompt_tokens: this.#promptTokens,
      completion_tokens: this.#completionTokens,
      total_tokens: this.#promptTokens + this.#completionTokens,
      prompt_tokens_details: { cached_tokens: this.#cachedTokens },
      ...(this.#drafts && { completion_tokens_details: predictionTokens(this.#drafts) }),
    };
  }

  /** Every sample of an echoed prompt begins with it. */
  #promptDeltas(prompt: number, event: PromptRead): CompletionChoice[] {
    this.#promptTokens += event.tokenIds.length;
    this.#prompts.set(prompt, event);
    const { text } = event;
    if (text === undefined) return [];
    return Array.from({ length: this.#n }, (_, sample) => {
      const index = prompt * this.#n + sample;
      return { text, index, logprobs: this.#logprobs(index, event.tokens), finish_reason: null };
    });
  }

  #tokenDeltas(index: number, event: Token): CompletionChoice[] {
    if (event.text === "" && !event.logprob) return [];
    const logprobs = this.#logprobs(index, event.logprob && [event.logprob]);
    return [{ text: event.text, index, logprobs, finish_reason: null }];
  }

  #finishDelta(prompt: number, event: Finish): CompletionChoice {
    const index = prompt * this.#n + event.sample;
    const { layout, healed, truncated } = this.#prompts.get(prompt) ?? {};
    this.#completionTokens += event.completionTokens;
    this.#drafts = sumOfDrafts(this.#drafts, event.drafts);
    const { promptMs, predictedMs } = event.timings;
    this.#slowest = {
      promptMs: Math.max(this.#slowest.promptMs, promptMs),
      predictedMs: Math.max(this.#slowest.predictedMs, predictedMs),
    };
    if (event.sample === 0) this.#cachedTokens += event.cachedTokens; // Once a prompt, as the prompt's own tokens.
    return {
      text: event.text,
      index,
      logprobs: null,
      finish_reason: finishReason(event.reason),
      ...(layout && { fim_layout: layout }),
      ...(truncated && { truncated: true as const }),
      ...(healed !== undefined && { healed }),
      ...(event.rules && { cleaned: [...event.rules] }),
      ...(event.cachedCompletion && { cached_completion: true }),
      ...(event.reason === "superseded" && { superseded: true as const }),
    };
  }

  #logprobs(index: number, tokens: readonly TokenLogprob[] | undefined): CompletionLogprobs | null {
    if (!tokens) return null;
    return {
      tokens: tokens.map((token) => token.text),
      token_logprobs: tokens.map((token) => finite(token.logprob)),
      top_logprobs: tokens.map(topLogprobs),
      text_offset: tokens.map((token) => this.#advance(index, token.text)),
    };
  }

  #advance(index: number, text: string): number {
    const offset = this.#offsets.get(index) ?? 0;
    this.#offsets.set(index, offset + [...text].length);
    return offset;
  }
}

function sumOfDrafts(a: DraftCounts | undefined, b: DraftCounts | undefined): DraftCounts | undefined {
  return a && b ? { drafted: a.drafted + b.drafted, accepted: a.accepted + b.accepted } : a ?? b;
}

/** By the names that OpenAI has for the tokens of a predicted output. */
function predictionTokens({ drafted, accepted }: DraftCounts) {
  return { accepted_prediction_tokens: accepted, rejected_prediction_tokens: drafted - accepted };
}

/** Adds deltas up, one choice an index, in order of index. `withLogprobs`: they were asked for, be it of no token. */
export function sumOfDeltas(
  deltas: readonly CompletionChoice[],
  withLogprobs: boolean,
): CompletionChoice[] {
  const byIndex = Map.groupBy(deltas, (delta) => delta.index);
  return [...byIndex].sort(([a], [b]) => a - b).map(([index, parts]) => ({
    ...parts.at(-1)!,
    text: parts.map((part) => part.text).join(""),
    index,
    logprobs: withLogprobs ? joinLogprobs(parts.flatMap((part) => part.logprobs ?? [])) : null,
  }));
}

/** Of the choices drawn for each prompt the `n` best, numbered anew. */
export function bestChoices(
  choices: readonly CompletionChoice[],
  ranks: SampleRanks,
  { drawn, n }: { readonly drawn: number; readonly n: number },
): CompletionChoice[] {
  return Array.from(
    { length: choices.length / drawn },
    (_, prompt) =>
      ranks.best(prompt, drawn).slice(0, n).map((sample, place) => ({
        ...choices[prompt * drawn + sample]!,
        index: prompt * n + place,
      })),
  ).flat();
}

function joinLogprobs(parts: readonly CompletionLogprobs[]): CompletionLogprobs {
  return {
    tokens: parts.flatMap((part) => part.tokens),
    token_logprobs: parts.flatMap((part) => part.token_logprobs),
    top_logprobs: parts.flatMap((part) => part.top_logprobs),
    text_offset: parts.flatMap((part) => part.text_offset),
  };
}

/** The likeliest tokens, and the drawn one when it is not among them. Null where nothing predicts the token. */
function topLogprobs(token: TokenLogprob): Record<string, number> | null {
  if (token.logprob === null) return null;
  const entries = [...token.top, { text: token.text, logprob: token.logprob }];
  return Object.fromEntries(entries.map(({ text, logprob }) => [text, finite(logprob)]));
}

function finite<T extends number | null>(logprob: T): T {
  return logprob === -Infinity ? LOWEST_LOGPROB as T : logprob;
}

/** A superseded completion was cut off, as one that reached its limit. */
function finishReason(reason: FinishReason): "stop" | "length" {
  return reason === "length" || reason === "superseded" ? "length" : "stop";
}
