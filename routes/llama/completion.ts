// POST /completion and /completions as llama.cpp's server has them: what Continue asks of it.
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Engine } from "../../engine/engine.ts";
import type { ModelChoice } from "../../engine/model_choice.ts";
import type { Prompt } from "../../engine/request.ts";
import { encodeParts } from "../encode_text.ts";
import { readJson } from "../json_body.ts";
import { namedModel } from "../named_model.ts";
import { documentRoute } from "../openapi.ts";
import type { RouteOptions } from "../route_options.ts";
import { nativeCompletionRequest, type NativePrompt, splitPrompts } from "./completion_schema.ts";
import { nativeReply as replySchema } from "./generation_schema.ts";
import { nativeReply } from "./native_generation.ts";

export function llamaCompletion(models: ModelChoice, options: RouteOptions): OpenAPIHono {
  const app = new OpenAPIHono();
  for (const path of ["/completion", "/completions"]) {
    app.post(path, async (c) => {
      const body = await readJson(c, nativeCompletionRequest, options);
      const engine = await namedModel(c, models, body.model);
      const { prompts: parts, several } = splitPrompts(body.prompt);
      const prompts = await Promise.all(parts.map((part) => toPrompt(engine, part)));
      return await nativeReply({ c, engine, options, body, prompts, asArray: several, speculative: false });
    });
  }
  documentRoute(app, {
    method: "post",
    path: "/completion",
    summary: "Continue a text, as llama.cpp's server does; /completions is the same",
    description:
      "With `n_cmpl` above 1 or several prompts the reply is an array. With `stream`, it is an event stream of parts " +
      "that ends with the full object of each completion, and with no `[DONE]`. Errors have llama.cpp's shape. Null " +
      "means absent; unknown fields are ignored.",
    request: nativeCompletionRequest,
    reply: replySchema,
    stream: true,
    example: { prompt: "def add(a, b):\n    return ", n_predict: 16, temperature: 0 },
  });
  return app;
}

async function toPrompt(engine: Engine, prompt: NativePrompt): Promise<Prompt> {
  // What a model was shown before the first token of a document.
  if (prompt === "") return { kind: "tokens", ids: [engine.model.eosTokenId] };
  if (typeof prompt === "string") return { kind: "text", text: prompt, parseSpecial: true };
  return { kind: "tokens", ids: await encodeParts(engine, prompt, "prompt") };
}
