// TGI's generating routes: POST /generate, /generate_stream, / (the old one, which huggingface_hub asks) and
// /models/{id} (the Inference API's, which llm-ls asks).
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { Engine, ModelInfo } from "../../engine/engine.ts";
import type { ModelChoice } from "../../engine/model_choice.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import { generationEvents, type GenerationJob, streamedReply } from "../generation_reply.ts";
import { readJson } from "../json_body.ts";
import { namedModel } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";
import { TIGHT_SSE } from "../reply_stream.ts";
import type { RouteOptions } from "../route_options.ts";
import { streamEvents, type WholeReply, wholeReply } from "./reply.ts";
import { toGeneration } from "./request.ts";
import { tgiError, tgiReply, type TgiRequest, tgiRequest, tgiStreamEvent } from "./schema.ts";

export function tgiGenerate(models: ModelChoice, options: RouteOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  const readCall = async (c: Context, model?: string): Promise<Call> => {
    const body = await readJson(c, tgiRequest, options);
    return { c, engine: await namedModel(c, models, model), options, body };
  };
  app.post("/generate", async (c) => c.json((await reply(await readCall(c))).reply));
  app.post("/generate_stream", async (c) => await stream(await readCall(c)));
  for (const path of ["/", "/models/:id{.+}"] as const) {
    app.post(path, async (c) => {
      const call = await readCall(c, c.req.param("id"));
      return call.body.stream ? await stream(call) : c.json([(await reply(call)).reply]);
    });
  }
  documentRoutes(app);
  return app;
}

interface Call {
  readonly c: Context;
  readonly engine: Engine;
  readonly options: RouteOptions;
  readonly body: TgiRequest;
}

async function reply(call: Call): Promise<WholeReply> {
  const startedAt = performance.now();
  const request = toGeneration(call.body, false);
  const whole = await wholeReply(generationEvents(jobOf(call, request, false)), call.body);
  setHeaders(call, whole, performance.now() - startedAt);
  return whole;
}

async function stream(call: Call): Promise<Response> {
  const { engine, body } = call;
  const request = toGeneration(body, true);
  const { eosTokenId } = engine.model;
  return await streamedReply(
    jobOf(call, request, true),
    TIGHT_SSE,
    (events) => streamEvents(events, body, eosTokenId),
  );
}

function jobOf(
  { c, engine, options, body: { parameters } }: Call,
  request: GenerationRequest,
  stream: boolean,
): GenerationJob {
  const { session_id, priority, max_new_tokens: maxTokens, best_of: n = 1, decoder_input_details } =
    parameters;
  return {
    ...{ c, engine, options, requests: [request] },
    wish: {
      ...{ session_id, priority, n, maxTokens, stream, speculative: false, numPrompts: 1 },
      scoresPrompt: decoder_input_details,
    },
  };
}

/** TGI's: whole milliseconds, but for the compute time in seconds. */
function setHeaders(
  { c, engine: { model }, body }: Call,
  { reply, promptTokens, finish }: WholeReply,
  totalMs: number,
) {
  const { timings: { queueMs, promptMs, predictedMs }, completionTokens } = finish;
  const inferenceMs = promptMs + predictedMs;
  const headers: Record<string, string | number> = {
    "x-compute-type": computeType(model),
    "x-compute-time": totalMs / 1000,
    "x-compute-characters": [...body.inputs].length,
    "x-total-time": Math.round(totalMs),
    "x-validation-time": Math.max(0, Math.round(totalMs - queueMs - inferenceMs)),
    "x-queue-time": Math.round(queueMs),
    "x-inference-time": Math.round(inferenceMs),
    "x-time-per-token": completionTokens > 0 ? Math.round(inferenceMs / completionTokens) : 0,
    "x-prompt-tokens": promptTokens,
    "x-generated-tokens": completionTokens,
    "x-generated-characters": [...reply.generated_text].length,
  };
  for (const [name, value] of Object.entries(headers)) c.header(name, `${value}`);
}

/** A header has no letters outside ASCII. */
function computeType({ backend, adapter }: ModelInfo): string {
  return `${backend}+${adapter}`.replace(/[^\x20-\x7e]/g, "?");
}

function documentRoutes(app: OpenAPIHono): void {
  const shared = {
    method: "post",
    request: tgiRequest,
    errorReply: tgiError,
    example: { inputs: "def add(a, b):\n    return ", parameters: { max_new_tokens: 16 } },
    errors: { 422: "A field is wrong; the error names it." },
  } as const;
  const errors = "Errors have TGI's shape. Null means absent; unknown fields are ignored.";
  documentRoute(app, {
    ...shared,
    path: "/generate",
    summary: "Continue a text, as TGI does",
    description: errors,
    reply: tgiReply,
  });
  documentRoute(app, {
    ...shared,
    path: "/generate_stream",
    summary: "Continue a text, as TGI does, as an event stream",
    description: `An event a token (\`data:{…}\`, without a blank); the last has the whole text. ${errors}`,
    reply: tgiStreamEvent,
    replyType: "text/event-stream",
  });
  documentRoute(app, {
    ...shared,
    path: "/",
    summary: "TGI's older route: a list of one reply, or with `stream` what /generate_stream sends",
    description: errors,
    reply: z.array(tgiReply),
    stream: true,
  });
  documentRoute(app, {
    ...shared,
    path: "/models/{id}",
    summary: "The Inference API's route: as POST /, of the model named",
    description: `Where the server has one model, any name is its. ${errors}`,
    params: z.object({ id: z.string() }),
    reply: z.array(tgiReply),
    stream: true,
  });
}
