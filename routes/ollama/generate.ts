// POST /api/generate as Ollama has it, fill-in-the-middle by `suffix` included.
import { OpenAPIHono } from "@hono/zod-openapi";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { generationEvents, type GenerationJob, streamedReply } from "../generation_reply.ts";
import { readJson } from "../json_body.ts";
import { namedModel } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";
import { NDJSON } from "../reply_stream.ts";
import type { RouteOptions } from "../route_options.ts";
import { replyLines, wholeReply } from "./generate_reply.ts";
import { toGeneration } from "./generate_request.ts";
import {
  type GenerateReply,
  generateReply,
  type GenerateRequest,
  generateRequest,
} from "./generate_schema.ts";
import { ollamaError } from "./error.ts";

export function ollamaGenerate(models: ModelChoice, options: RouteOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.post("/api/generate", async (c) => {
    const body = await readJson(c, generateRequest, options);
    const engine = await namedModel(c, models, body.model);
    const model = body.model || engine.model.id;
    if (body.prompt === "" && body.suffix === "") return c.json(loaded(model, body));
    const request = toGeneration(engine, body);
    const job: GenerationJob = {
      c,
      engine,
      options,
      requests: [request],
      wish: wishOf(body, request.maxTokens),
    };
    if (body.stream) return await streamedReply(job, NDJSON, (events) => replyLines(events, body, { model }));
    return c.json(await wholeReply(replyLines(generationEvents(job), body, { model })));
  });
  documentRoute(app, {
    method: "post",
    path: "/api/generate",
    summary: "Continue a text or fill in the middle, as Ollama does",
    description:
      "Unless `stream` is false the reply is a line of JSON for each part, the last with counts and times. Errors have " +
      "Ollama's shape. Null means absent; unknown fields are ignored.",
    request: generateRequest,
    errorReply: ollamaError,
    example: { prompt: "def add(a, b):\n    ", suffix: "\n", options: { num_predict: 16, temperature: 0 } },
    reply: generateReply,
    stream: NDJSON.contentType,
  });
  return app;
}

/** By a request without a prompt clients have a model loaded, or given back; here it goes when others need its room. */
function loaded(model: string, { keep_alive }: GenerateRequest): GenerateReply {
  const done_reason = keep_alive === 0 || keep_alive === "0" ? "unload" : "load";
  return { model, created_at: new Date().toISOString(), response: "", done: true, done_reason };
}

function wishOf({ session_id, priority, stream }: GenerateRequest, maxTokens: number | undefined) {
  return {
    ...{ session_id, priority, stream, maxTokens },
    ...{ numPrompts: 1, n: 1, scoresPrompt: false, speculative: false },
  };
}
