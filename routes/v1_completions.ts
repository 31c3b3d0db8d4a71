// POST /v1/completions, which OpenAI's clients and Tabby's ask: the body says whose it is, and from then on errors are
// told in its dialect.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { ModelChoice } from "../engine/model_choice.ts";
import { checkObject, readObject } from "./json_body.ts";
import { completionReply, completionRequest } from "./openai/completion_schema.ts";
import { openAiCompletion } from "./openai/completions.ts";
import { documentRoute } from "./openapi.ts";
import type { RouteOptions } from "./route_options.ts";
import { isTabbyBody, tabbyReply, tabbyRequest } from "./tabby/completion_schema.ts";
import { tabbyCompletion } from "./tabby/completions.ts";

export function v1Completions(models: ModelChoice, options: RouteOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.post("/v1/completions", async (c) => {
    const body = await readObject(c, options);
    if (!isTabbyBody(body)) {
      return await openAiCompletion(c, models, checkObject(body, completionRequest), options);
    }
    c.set("dialect", "tabby");
    return await tabbyCompletion(c, models, checkObject(body, tabbyRequest), options);
  });
  documentRoute(app, {
    method: "post",
    path: "/v1/completions",
    summary: "Complete code, or fill in the middle",
    description:
      "As OpenAI defines it. With `stream`, the reply is an event stream of the same objects that " +
      "ends with `data: [DONE]`. Null means absent; unknown fields are ignored. A body with `segments` is Tabby's, " +
      "gets Tabby's reply, and errors as a status with text.",
    request: z.union([completionRequest, tabbyRequest]),
    reply: z.union([completionReply, tabbyReply]),
    stream: true,
    example: { prompt: "def add(a, b):\n    ", suffix: "\n", max_tokens: 16, temperature: 0 },
  });
  return app;
}
