// From the engine's events to TGI's objects: the events of a stream, and whole replies.
import type { FinishReason, GenerationEvent, TokenLogprob } from "../../engine/request.ts";
import { SampleRanks } from "../best_of.ts";
import type { PromptEvent } from "../generation.ts";
import type {
  TgiFinishReason,
  TgiPrefillToken,
  TgiReply,
  TgiRequest,
  TgiSequence,
  TgiStreamEvent,
  TgiToken,
} from "./schema.ts";

type Finish = Extract<GenerationEvent, { kind: "finish" }>;
type Token = Extract<GenerationEvent, { kind: "token" }>;
type PromptRead = Extract<GenerationEvent, { kind: "prompt" }>;

/** JSON has no -Infinity. */
const LOWEST_LOGPROB = -9999;

const FINISH_REASONS = {
  eos: "eos_token",
  stop: "stop_sequence",
  rule: "stop_sequence",
  length: "length",
  superseded: "length",
} as const satisfies Record<FinishReason, TgiFinishReason>;

/**
 * The events of a stream. Each stands for a token, and the last for the last token: so each is sent when the next is
 * known. A text that ends at once has one event, of the token that ended it.
 */
export async function* streamEvents(
  events: AsyncIterable<PromptEvent>,
  body: TgiRequest,
  eosTokenId: number,
): AsyncGenerator<TgiStreamEvent> {
  const end: TgiToken = { id: eosTokenId, text: "", logprob: 0, special: true };
  let index = 0, inputLength = 0, text = body.parameters.return_full_text ? body.inputs : "";
  let held: TgiStreamEvent | undefined;
  try {
    for await (const { event } of events) {
      if (event.kind === "prompt") inputLength = event.tokenIds.length;
      else text += event.text;
      if (event.kind === "token") {
        if (held) yield held;
        held = { index: ++index, ...tokenFields(event, body), generated_text: null, details: null };
      } else if (event.kind === "finish") {
        yield lastEvent(held ?? { index: 1, token: end }, event, { body, text, inputLength });
        held = undefined;
      }
    }
  } catch (error) {
    if (held) yield held;
    throw error;
  }
}

function lastEvent(
  last: Omit<TgiStreamEvent, "generated_text" | "details">,
  { text: heldBack, reason, completionTokens }: Finish,
  { body, text, inputLength }: {
    readonly body: TgiRequest;
    readonly text: string;
    readonly inputLength: number;
  },
): TgiStreamEvent {
  return {
    ...last,
    // What was held back belongs to the last token.
    token: { ...last.token, text: last.token.text + heldBack },
    generated_text: text,
    details: {
      finish_reason: FINISH_REASONS[reason],
      generated_tokens: completionTokens,
      seed: body.parameters.seed ?? null,
      input_length: inputLength,
    },
  };
}

function tokenFields(event: Token, body: TgiRequest): Pick<TgiStreamEvent, "token" | "top_tokens"> {
  const logprob = event.logprob ? finite(event.logprob.logprob) : null;
  return {
    token: { id: event.id, text: event.text, logprob, special: false },
    ...(body.parameters.top_n_tokens && event.logprob && { top_tokens: topTokens(event.logprob) }),
  };
}

/** A reply as a whole, and what its headers tell. */
export interface WholeReply {
  readonly reply: TgiReply;
  readonly promptTokens: number;
  /** Of the sample that is sent. */
  readonly finish: Finish;
}

export async function wholeReply(events: AsyncIterable<PromptEvent>, body: TgiRequest): Promise<WholeReply> {
  const { best_of: count = 1, details } = body.parameters;
  const samples = Array.from({ length: count }, () => new Sample(body));
  const ranks = new SampleRanks();
  let prompt: PromptRead | undefined;
  for await (const each of events) {
    ranks.add(each);
    if (each.event.kind === "prompt") prompt = each.event;
    else samples[each.event.sample]!.add(each.event);
  }
  const [best, ...others] = ranks.best(0, count).map((index) => samples[index]!);
  const prefill = prompt?.tokens?.map(prefillToken) ?? [];
  const reply: TgiReply = {
    generated_text: best!.text,
    ...(details && {
      details: {
        ...best!.sequence(prefill),
        ...(count > 1 && {
          best_of_sequences: others.map((other) => ({
            generated_text: other.text,
            ...other.sequence(prefill),
          })),
        }),
      },
    }),
  };
  return { reply, promptTokens: prompt?.tokenIds.length ?? 0, finish: best!.finish! };
}

/** One completion as it is gathered. */
class Sample {
  readonly #body: TgiRequest;
  readonly #tokens: TgiToken[] = [];
  readonly #topTokens: TgiToken[][] = [];
  text: string;
  finish: Finish | undefined;

  constructor(body: TgiRequest) {
    this.#body = body;
    this.text = body.parameters.return_full_text ? body.inputs : "";
  }

  add(event: Token | Finish): void {
    this.text += event.text;
    if (event.kind === "finish") this.finish = event;
    else if (event.logprob) {
      this.#tokens.push(scoredToken(event.logprob));
      this.#topTokens.push(topTokens(event.logprob));
    }
  }

  sequence(prefill: TgiPrefillToken[]): TgiSequence {
    const { seed, top_n_tokens } = this.#body.parameters;
    return {
      finish_reason: FINISH_REASONS[this.finish!.reason],
      generated_tokens: this.finish!.completionTokens,
      seed: seed ?? null,
      prefill,
      tokens: this.#tokens,
      ...(top_n_tokens && { top_tokens: this.#topTokens }),
    };
  }
}

function prefillToken({ id, text, logprob }: TokenLogprob): TgiPrefillToken {
  return { id, text, logprob: logprob === null ? null : finite(logprob) };
}

function scoredToken({ id, text, logprob }: Pick<TokenLogprob, "id" | "text" | "logprob">): TgiToken {
  return { id, text, logprob: finite(logprob), special: false };
}

function topTokens({ top }: TokenLogprob): TgiToken[] {
  return top.map(scoredToken);
}

function finite(logprob: number | null): number {
  return Math.max(logprob ?? 0, LOWEST_LOGPROB);
}
