// What llama.cpp's generating routes do alike: the native objects of each sample, as a whole or as a stream.
import type { Context } from "hono";
import type { Engine } from "../../engine/engine.ts";
import type { GenerationEvent, GenerationRequest, Prompt } from "../../engine/request.ts";
import type { PromptEvent } from "../generation.ts";
import { generationEvents, type GenerationJob, streamedReply } from "../generation_reply.ts";
import { SSE } from "../reply_stream.ts";
import type { RouteOptions } from "../route_options.ts";
import { sampleCount, toSettings } from "./generation_request.ts";
import type { GenerationBody } from "./generation_schema.ts";
import { type NativePart, NativeSample, selectFields } from "./native_reply.ts";

export interface NativeCall {
  readonly c: Context;
  readonly engine: Engine;
  readonly options: RouteOptions;
  readonly body: GenerationBody;
  readonly prompts: readonly Prompt[];
  /** The reply is an array, however many completions it has. */
  readonly asArray: boolean;
  /** Known to ask for what may be wanted next. */
  readonly speculative: boolean;
}

export async function nativeReply(call: NativeCall): Promise<Response> {
  const job = await jobOf(call);
  if (call.body.stream) {
    return await streamedReply(job, SSE, (events) => frames(outputs(events, call, job.requests)));
  }
  const replies: Record<string, unknown>[] = [];
  for await (const output of outputs(generationEvents(job), call, job.requests)) {
    if (output.kind === "reply") replies[output.index] = output.reply;
  }
  return call.c.json(call.asArray || replies.length > 1 ? replies : replies[0]!);
}

async function jobOf({ c, engine, options, body, prompts, speculative }: NativeCall): Promise<GenerationJob> {
  const settings = await toSettings(engine, body);
  const { session_id, priority, stream } = body;
  return {
    ...{ c, engine, options },
    requests: prompts.map((prompt) => ({ ...settings, prompt })),
    wish: {
      ...{ session_id, priority, stream, speculative, scoresPrompt: false },
      numPrompts: prompts.length,
      n: sampleCount(body),
      maxTokens: settings.maxTokens,
    },
  };
}

/** What goes out: parts as the text grows, and one full reply (cut to the fields asked for) a sample. */
type Output =
  | { readonly kind: "part"; readonly part: NativePart }
  | { readonly kind: "reply"; readonly index: number; readonly reply: Record<string, unknown> };

async function* frames(all: AsyncIterable<Output>): AsyncGenerator<object> {
  for await (const output of all) yield output.kind === "part" ? output.part : output.reply;
}

type PromptRead = Extract<GenerationEvent, { kind: "prompt" }>;

async function* outputs(
  events: AsyncIterable<PromptEvent>,
  { engine: { model }, body, prompts }: NativeCall,
  requests: readonly GenerationRequest[],
): AsyncGenerator<Output> {
  const n = sampleCount(body);
  const samples = Array.from({ length: prompts.length * n }, (_, index) => new NativeSample(index, body));
  const read = new Map<number, PromptRead>();
  for await (const { prompt, event } of events) {
    if (event.kind === "prompt") {
      read.set(prompt, event);
      continue;
    }
    const sample = samples[prompt * n + event.sample]!, promptRead = read.get(prompt)!;
    if (event.kind === "token") {
      yield { kind: "part", part: sample.add(event, promptRead) };
      continue;
    }
    const heldBack = sample.addHeldBack(event, promptRead);
    if (heldBack) yield { kind: "part", part: heldBack };
    const reply = sample.reply(promptRead, event, { model, generation: requests[prompt]! });
    yield { kind: "reply", index: sample.index, reply: selectFields(reply, body.response_fields) };
  }
}
