// From the engine's events to Ollama's objects: one for each part of the text, and the last with counts and times.
import type { FinishReason, GenerationEvent, TokenLogprob } from "../../engine/request.ts";
import type { PromptEvent } from "../generation.ts";
import type { GenerateReply, GenerateRequest, OllamaLogprob } from "./generate_schema.ts";

type Finish = Extract<GenerationEvent, { kind: "finish" }>;

/** JSON has no -Infinity. */
const LOWEST_LOGPROB = -9999;
const NANOSECONDS_PER_MS = 1e6;

const DONE_REASONS = {
  eos: "stop",
  stop: "stop",
  rule: "stop",
  length: "length",
  superseded: "length",
} as const satisfies Record<FinishReason, GenerateReply["done_reason"]>;

export interface ReplyNames {
  /** As the client calls it. */
  readonly model: string;
  /** Wall clock. */
  readonly date?: () => Date;
}

/** The lines of a stream. */
export async function* replyLines(
  events: AsyncIterable<PromptEvent>,
  body: GenerateRequest,
  { model, date = () => new Date() }: ReplyNames,
): AsyncGenerator<GenerateReply> {
  const startedAt = performance.now();
  const head = () => ({ model, created_at: date().toISOString() });
  const tokens: number[] = [];
  let promptTokens = 0;
  for await (const { event } of events) {
    switch (event.kind) {
      case "prompt":
        promptTokens = event.tokenIds.length;
        tokens.push(...event.tokenIds);
        break;
      case "token":
        tokens.push(event.id);
        if (event.text === "" && !event.logprob) break;
        yield {
          ...head(),
          response: event.text,
          done: false,
          ...(event.logprob && { logprobs: [toLogprob(event.logprob, body.top_logprobs)] }),
        };
        break;
      case "finish":
        if (event.text !== "") yield { ...head(), response: event.text, done: false };
        yield {
          ...head(),
          response: "",
          done: true,
          done_reason: DONE_REASONS[event.reason],
          ...(!body.raw && { context: tokens }),
          ...durations(event, promptTokens, performance.now() - startedAt),
        };
    }
  }
}

/** All lines as one object. */
export async function wholeReply(lines: AsyncIterable<GenerateReply>): Promise<GenerateReply> {
  let response = "", last: GenerateReply | undefined;
  const logprobs: OllamaLogprob[] = [];
  for await (const line of lines) {
    response += line.response;
    logprobs.push(...line.logprobs ?? []);
    last = line;
  }
  return { ...last!, response, ...(logprobs.length > 0 && { logprobs }) };
}

function durations({ timings, completionTokens }: Finish, promptTokens: number, totalMs: number) {
  const { queueMs, promptMs, predictedMs } = timings;
  return {
    total_duration: nanoseconds(Math.max(totalMs, queueMs + promptMs + predictedMs)),
    load_duration: 0,
    prompt_eval_count: promptTokens,
    prompt_eval_duration: nanoseconds(promptMs),
    eval_count: completionTokens,
    eval_duration: nanoseconds(predictedMs),
  };
}

function nanoseconds(ms: number): number {
  return Math.round(ms * NANOSECONDS_PER_MS);
}

function toLogprob({ text, logprob, top }: TokenLogprob, topCount: number): OllamaLogprob {
  return {
    ...likelyToken(text, logprob ?? 0),
    ...(topCount > 0 && { top_logprobs: top.map((other) => likelyToken(other.text, other.logprob)) }),
  };
}

function likelyToken(token: string, logprob: number) {
  return { token, logprob: Math.max(logprob, LOWEST_LOGPROB), bytes: [...new TextEncoder().encode(token)] };
}
