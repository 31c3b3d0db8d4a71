// GET /info and /ping as TGI has them: what is served, and its limits.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import { DEFAULT_MAX_WAITING } from "../../engine/engine_options.ts";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { requireReady } from "../health.ts";
import { documentRoute } from "../openapi.ts";
import { MAX_BEST_OF, MAX_STOP_SEQUENCES, tgiError } from "./schema.ts";

const info = z.object({
  model_id: z.string(),
  model_sha: z.string().nullable(),
  model_pipeline_tag: z.literal("text-generation"),
  max_concurrent_requests: z.int(),
  max_best_of: z.int(),
  max_stop_sequences: z.int(),
  max_input_tokens: z.int(),
  max_input_length: z.int().describe("The older name of `max_input_tokens`."),
  max_total_tokens: z.int(),
  validation_workers: z.int(),
  max_client_batch_size: z.int(),
  router: z.string(),
  version: z.string(),
  sha: z.string().nullable(),
  docker_label: z.string().nullable(),
}).openapi("TgiInfo");

export function tgiInfo(models: ModelChoice, { version }: { readonly version: string }): OpenAPIHono {
  const engine = models.primary, app = new OpenAPIHono();
  app.get("/info", (c) => {
    const { id, contextLength } = engine.model;
    const found: z.output<typeof info> = {
      model_id: id,
      model_sha: null,
      model_pipeline_tag: "text-generation",
      max_concurrent_requests: DEFAULT_MAX_WAITING,
      max_best_of: MAX_BEST_OF,
      max_stop_sequences: MAX_STOP_SEQUENCES,
      max_input_tokens: contextLength - 1,
      max_input_length: contextLength - 1,
      max_total_tokens: contextLength,
      validation_workers: 1,
      max_client_batch_size: 1,
      router: "hyades",
      version,
      sha: null,
      docker_label: null,
    };
    return c.json(found);
  });
  app.get("/ping", (c) => {
    requireReady(engine.state);
    return c.body(null);
  });
  documentRoute(app, {
    method: "get",
    path: "/info",
    summary: "The served model and its limits, as TGI shows them",
    reply: info,
    errorReply: tgiError,
  });
  documentRoute(app, {
    method: "get",
    path: "/ping",
    summary: "As TGI has it: an empty 200 when requests are served",
    reply: z.string(),
    replyType: "text/plain",
    errorReply: tgiError,
  });
  return app;
}
