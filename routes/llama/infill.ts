// POST /infill as llama.cpp's server has it: what llama.vim and llama.vscode ask.
import { OpenAPIHono } from "@hono/zod-openapi";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { readJson } from "../json_body.ts";
import { namedModel } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";
import type { RouteOptions } from "../route_options.ts";
import { nativeReply as replySchema } from "./generation_schema.ts";
import { infillPrompt } from "./infill_request.ts";
import { type InfillRequest, infillRequest } from "./infill_schema.ts";
import { nativeReply } from "./native_generation.ts";

export function llamaInfill(models: ModelChoice, options: RouteOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  app.post("/infill", async (c) => {
    const body = await readJson(c, infillRequest, options);
    const engine = await namedModel(c, models, body.model);
    const prompts = [infillPrompt(body)], speculative = looksAhead(body);
    return await nativeReply({ c, engine, options, body, prompts, asArray: false, speculative });
  });
  documentRoute(app, {
    method: "post",
    path: "/infill",
    summary: "Fill in the middle, as llama.cpp's server does",
    description:
      "With `n_cmpl` above 1 the reply is an array. With `stream`, it is an event stream of parts " +
      "that ends with the full object, and with no `[DONE]`. Errors have llama.cpp's shape. " +
      "Null means absent; unknown fields are ignored.",
    request: infillRequest,
    reply: replySchema,
    stream: true,
    example: { input_prefix: "def add(a, b):\n    ", input_suffix: "\n", n_predict: 16 },
  });
  return app;
}

/** llama.vim's requests differ in one thing alone: it gives a live one 250 ms, and its look ahead a second. */
const LLAMA_VIM_AHEAD_MS = 1000;

function looksAhead({ t_max_predict_ms, response_fields }: InfillRequest): boolean {
  return t_max_predict_ms === LLAMA_VIM_AHEAD_MS && (response_fields?.length ?? 0) > 0;
}
