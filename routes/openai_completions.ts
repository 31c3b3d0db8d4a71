// POST /v1/completions. Order of affairs: read and check, hand to the engine, send back as one object or as a stream.
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { Engine } from "../engine/engine.ts";
import type { ModelChoice } from "../engine/model_choice.ts";
import { errorBody, explain, HttpProblem } from "./errors.ts";
import { awaitFirstToken, clientSignal, generate, type PromptEvent } from "./generation.ts";
import { readJson } from "./json_body.ts";
import { CompletionShaper, sumOfDeltas } from "./openai_completion_reply.ts";
import { toGenerationRequests } from "./openai_completion_request.ts";
import {
  type CompletionChoice,
  completionReply,
  type CompletionRequest,
  completionRequest,
} from "./openai_completion_schema.ts";
import { documentRoute } from "./openapi.ts";
import type { RouteOptions } from "./route_options.ts";
import { standingOf, type Wish } from "./standing.ts";
import { eventStream, type Frame } from "./sse.ts";

export function openAiCompletions(models: ModelChoice, options: RouteOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.post("/v1/completions", async (c) => {
    const body = await readJson(c, completionRequest, options);
    const engine = await requireModel(models, body.model, c.req.raw.signal);
    return await (body.stream ? streamReply : plainReply)(c, engine, body, options);
  });
  documentRoute(app, {
    method: "post",
    path: "/v1/completions",
    summary: "Complete code, or fill in the middle",
    description:
      "As OpenAI defines it. With `stream`, the reply is an event stream of the same objects that " +
      "ends with `data: [DONE]`. Null means absent; unknown fields are ignored.",
    request: completionRequest,
    reply: completionReply,
    stream: true,
  });
  return app;
}

/**
 * The engine of the model that a client names, loaded.
 * @throws {HttpProblem} there is no such model
 */
export async function requireModel(
  models: ModelChoice,
  id: string | undefined,
  signal?: AbortSignal,
): Promise<Engine> {
  const engine = await models.choose(id, signal);
  if (engine) return engine;
  throw unknownModel(models, id!);
}

export function unknownModel(models: ModelChoice, id: string): HttpProblem {
  const served = models.list().map((model) => `"${model.id}"`).join(", ");
  return new HttpProblem(
    "notFound",
    `The model "${id.slice(0, 200)}" does not exist: this server has ${served}`,
    {
      param: "model",
      code: "model_not_found",
    },
  );
}

function wishOf(body: CompletionRequest, numPrompts: number): Wish {
  const { session_id, priority, n, stream, max_tokens: maxTokens } = body;
  const scoresPrompt = body.echo && body.logprobs !== undefined;
  return { session_id, priority, numPrompts, n, stream, maxTokens, scoresPrompt, speculative: false };
}

async function plainReply(
  c: Context,
  engine: Engine,
  body: CompletionRequest,
  options: RouteOptions,
): Promise<Response> {
  const shaper = new CompletionShaper(engine.model, body.n);
  const requests = toGenerationRequests(body, engine.model.eosTokenId);
  const deltas: CompletionChoice[] = [];
  for await (
    const event of generate(engine, requests, {
      exchange: c.get("exchange"),
      standing: standingOf(c, wishOf(body, requests.length)),
      signal: clientSignal(c.req.raw).signal,
      deadlines: options.deadlines,
    })
  ) {
    deltas.push(...shaper.deltas(event));
  }
  return c.json(shaper.reply(sumOfDeltas(deltas, body.logprobs !== undefined)));
}

async function streamReply(
  c: Context,
  engine: Engine,
  body: CompletionRequest,
  options: RouteOptions,
): Promise<Response> {
  const shaper = new CompletionShaper(engine.model, body.n);
  const requests = toGenerationRequests(body, engine.model.eosTokenId);
  const client = clientSignal(c.req.raw);
  const events = await awaitFirstToken(generate(engine, requests, {
    exchange: c.get("exchange"),
    standing: standingOf(c, wishOf(body, requests.length)),
    signal: client.signal,
    deadlines: options.deadlines,
  }));
  return eventStream(chunks(events, shaper, body.stream_options?.include_usage ?? false), {
    onCancel: client.leave,
    errorFrame: (error) => errorBody(explain(error, c, options.report), "openai"),
  });
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
