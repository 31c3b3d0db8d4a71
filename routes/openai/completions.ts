// OpenAI's completion: from a checked body to the engine, and back as one object or as a stream. Its path is Tabby's as
// well (`v1_completions.ts`).
import type { Context } from "hono";
import type { Engine } from "../../engine/engine.ts";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { SampleRanks } from "../best_of.ts";
import type { PromptEvent } from "../generation.ts";
import { generationEvents, type GenerationJob, streamedReply } from "../generation_reply.ts";
import { namedModel } from "../named_model.ts";
import { type Frame, SSE } from "../reply_stream.ts";
import type { RouteOptions } from "../route_options.ts";
import type { Wish } from "../standing.ts";
import { bestChoices, CompletionShaper, sumOfDeltas } from "./completion_reply.ts";
import { toGenerationRequests } from "./completion_request.ts";
import { type CompletionChoice, type CompletionRequest, samplesDrawn } from "./completion_schema.ts";

/** @throws {HttpProblem} as the engine and `namedModel` do */
export async function openAiCompletion(
  c: Context,
  models: ModelChoice,
  body: CompletionRequest,
  options: RouteOptions,
): Promise<Response> {
  const engine = await namedModel(c, models, body.model);
  return await (body.stream ? streamReply : plainReply)(c, engine, body, options);
}

/** What the engine is asked for a body. */
export function completionJob(
  c: Context,
  engine: Engine,
  body: CompletionRequest,
  options: RouteOptions,
): GenerationJob {
  const requests = toGenerationRequests(body, engine.model.eosTokenId);
  return { c, engine, options, requests, wish: wishOf(body, requests.length) };
}

function wishOf(body: CompletionRequest, numPrompts: number): Wish {
  const { session_id, priority, stream, max_tokens: maxTokens } = body;
  const n = samplesDrawn(body), scoresPrompt = body.echo && body.logprobs !== undefined;
  return { session_id, priority, numPrompts, n, stream, maxTokens, scoresPrompt, speculative: false };
}

async function plainReply(
  c: Context,
  engine: Engine,
  body: CompletionRequest,
  options: RouteOptions,
): Promise<Response> {
  const drawn = samplesDrawn(body);
  const shaper = new CompletionShaper(engine.model, drawn);
  const ranks = new SampleRanks();
  const deltas: CompletionChoice[] = [];
  for await (const event of generationEvents(completionJob(c, engine, body, options))) {
    ranks.add(event);
    deltas.push(...shaper.deltas(event));
  }
  const choices = sumOfDeltas(deltas, body.logprobs !== undefined);
  return c.json(shaper.reply(drawn > body.n ? bestChoices(choices, ranks, { drawn, n: body.n }) : choices));
}

function streamReply(
  c: Context,
  engine: Engine,
  body: CompletionRequest,
  options: RouteOptions,
): Promise<Response> {
  const shaper = new CompletionShaper(engine.model, body.n);
  const includeUsage = body.stream_options?.include_usage ?? false;
  return streamedReply(
    completionJob(c, engine, body, options),
    SSE,
    (events) => chunks(events, shaper, includeUsage),
  );
}

async function* chunks(
  events: AsyncIterable<PromptEvent>,
  shaper: CompletionShaper,
  includeUsage: boolean,
): AsyncGenerator<Frame> {
  const noUsageYet = includeUsage ? null : undefined;
  for await (const event of events) {
    for (const delta of shaper.deltas(event)) {
      const chunk = shaper.chunk([delta], noUsageYet);
      const timings = shaper.timings(event);
      yield timings ? { ...chunk, timings } : chunk;
    }
  }
  if (includeUsage) yield shaper.chunk([], shaper.usage());
  yield "[DONE]";
}
