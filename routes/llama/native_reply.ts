// From the engine's events to llama.cpp's native objects: partial ones for a stream, and the full one that ends a sample.
import type { ModelInfo } from "../../engine/engine.ts";
import type { FinishReason, GenerationEvent, GenerationRequest, TokenLogprob } from "../../engine/request.ts";
import { sampleCount } from "./generation_request.ts";
import { toReplyTimings } from "../reply_timings.ts";
import type { GenerationBody, NativeReply, TokenProbability } from "./generation_schema.ts";

type Finish = Extract<GenerationEvent, { kind: "finish" }>;
type Token = Extract<GenerationEvent, { kind: "token" }>;
type PromptRead = Extract<GenerationEvent, { kind: "prompt" }>;

/** A part of a sample, as the native stream sends it. */
export interface NativePart {
  readonly index: number;
  readonly content: string;
  readonly tokens: number[];
  readonly stop: false;
  readonly id_slot: number;
  readonly tokens_predicted: number;
  readonly tokens_evaluated: number;
  readonly completion_probabilities?: TokenProbability[];
}

/** llama.cpp counts its own rule, `n_indent`, among the limits. */
const STOP_TYPES = {
  eos: "eos",
  stop: "word",
  rule: "limit",
  length: "limit",
  superseded: "limit",
} as const satisfies Record<
  FinishReason,
  string
>;

/** One completion of the request, gathered as it grows. */
export class NativeSample {
  readonly index: number;
  readonly #body: GenerationBody;
  readonly #tokens: number[] = [];
  readonly #probabilities: TokenProbability[] = [];
  #content = "";

  constructor(index: number, body: GenerationBody) {
    this.index = index;
    this.#body = body;
  }

  /** Takes a token in; returns the part that a stream sends for it. */
  add(event: Token, prompt: PromptRead): NativePart {
    this.#content += event.text;
    this.#tokens.push(event.id);
    const probabilities = event.logprob ? [tokenProbability(event.logprob)] : [];
    this.#probabilities.push(...probabilities);
    return this.#part(event.text, [event.id], probabilities, prompt);
  }

  /** Takes in the text that was held back to the end; returns its part, unless there was none. */
  addHeldBack(event: Finish, prompt: PromptRead): NativePart | undefined {
    this.#content += event.text;
    return event.text === "" ? undefined : this.#part(event.text, [], [], prompt);
  }

  #part(
    content: string,
    tokens: number[],
    probabilities: TokenProbability[],
    prompt: PromptRead,
  ): NativePart {
    return {
      index: this.index,
      content,
      tokens,
      stop: false,
      id_slot: slot(this.#body),
      tokens_predicted: this.#tokens.length,
      tokens_evaluated: prompt.tokenIds.length,
      ...(probabilities.length > 0 && { completion_probabilities: probabilities }),
    };
  }

  /** The full object. In a stream its content is empty, for all of it has been sent. */
  reply(prompt: PromptRead, finish: Finish, context: ReplyContext): NativeReply {
    const { stream, return_tokens } = this.#body;
    return {
      index: this.index,
      content: stream ? "" : this.#content,
      tokens: return_tokens && !stream ? this.#tokens : [],
      id_slot: slot(this.#body),
      stop: true,
      model: context.model.id,
      tokens_predicted: finish.completionTokens,
      tokens_evaluated: prompt.tokenIds.length,
      generation_settings: generationSettings(this.#body, context),
      prompt: prompt.text ?? "",
      has_new_line: this.#content.includes("\n"),
      truncated: prompt.truncated,
      ...(prompt.layout && { fim_layout: prompt.layout }),
      ...(finish.reason === "superseded" && { superseded: true as const }),
      stop_type: STOP_TYPES[finish.reason],
      stopping_word: finish.stopString ?? "",
      ...(finish.rules && { cleaned: [...finish.rules] }),
      ...(prompt.healed !== undefined && { healed: prompt.healed }),
      ...(finish.cachedCompletion && { cached_completion: true }),
      tokens_cached: prompt.tokenIds.length + numFedBack(finish),
      timings: toReplyTimings(prompt.tokenIds.length, finish),
      ...(this.#probabilities.length > 0 && !stream &&
        { completion_probabilities: this.#probabilities }),
    };
  }
}

/** Tokens of the completion that the model was given: all but the last drawn, which may be an end token. */
function numFedBack({ reason, completionTokens }: Finish): number {
  return reason === "eos" ? completionTokens : Math.max(0, completionTokens - 1);
}

export interface ReplyContext {
  readonly model: ModelInfo;
  readonly generation: Omit<GenerationRequest, "prompt">;
}

/** llama.cpp's slots hold one conversation's cache each; ours is shared by all, so the client's choice is echoed. */
function slot(body: GenerationBody): number {
  return Math.max(0, body.id_slot ?? 0);
}

/** What llama.cpp has and we do not, as it says that it is off. */
const SWITCHED_OFF = {
  typical_p: 1,
  repeat_penalty: 1,
  dry_multiplier: 0,
  xtc_probability: 0,
  dynatemp_range: 0,
  mirostat: 0,
  n_keep: 0,
} as const;

/** The settings as applied, by llama.cpp's names. */
export function generationSettings(
  body: GenerationBody,
  { model, generation }: ReplyContext,
): NativeReply["generation_settings"] {
  return {
    n_predict: generation.maxTokens ?? -1,
    seed: body.seed,
    temperature: generation.temperature ?? 0,
    top_k: generation.topK ?? 0,
    top_p: generation.topP ?? 1,
    min_p: generation.minP ?? 0,
    presence_penalty: generation.presencePenalty ?? 0,
    frequency_penalty: generation.frequencyPenalty ?? 0,
    stop: [...generation.stop ?? []],
    ignore_eos: generation.ignoreEos ?? false,
    n_indent: generation.outputRules?.minIndent ?? 0,
    n_probs: generation.logprobs ?? 0,
    n_cmpl: sampleCount(body),
    ...SWITCHED_OFF,
    stream: body.stream,
    samplers: body.samplers ?? ["penalties", "top_k", "top_p", "min_p", "temperature"],
    n_ctx: model.contextLength,
  };
}

function tokenProbability(token: TokenLogprob): TokenProbability {
  return {
    ...likelyToken({ ...token, logprob: token.logprob ?? 0 }),
    top_logprobs: token.top.map(likelyToken),
  };
}

function likelyToken({ id, text, logprob }: { id: number; text: string; logprob: number }) {
  const bytes = [...new TextEncoder().encode(text)];
  return { id, token: text, bytes, logprob: Math.max(logprob, -Number.MAX_VALUE) };
}

/**
 * The reply cut to `response_fields`: missing names are left out, and a name with slashes reaches inside, the result
 * keeping the whole name as a flat key.
 */
export function selectFields(
  reply: NativeReply,
  names: readonly string[] | undefined,
): Record<string, unknown> {
  if (!names || names.length === 0) return { ...reply };
  const found = names.map((name) => [name, valueAt(reply, name.split("/"))] as const);
  return Object.fromEntries(found.filter(([, value]) => value !== undefined));
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, key) =>
      typeof inner === "object" && inner !== null && Object.hasOwn(inner, key)
        ? (inner as Record<string, unknown>)[key]
        : undefined,
    value,
  );
}
