// What Tabby's clients ask of a server before they work with it: its health state, settings and models. Health itself is
// `health.ts`, for llama.cpp has the same path.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import { cpus } from "node:os";
import type { ModelInfo } from "../../engine/engine.ts";
import type { ModelChoice } from "../../engine/model_choice.ts";
import { documentRoute } from "../openapi.ts";

export const healthState = z.object({
  model: z.string().describe("Completions are to be had."),
  device: z.string(),
  cuda_devices: z.array(z.string()),
  models: z.object({
    completion: z.object({ local: z.object({ model_id: z.string(), device: z.string() }) }),
  }),
  arch: z.string(),
  cpu_info: z.string(),
  cpu_count: z.int(),
  version: z.object({
    build_date: z.string(),
    build_timestamp: z.string(),
    git_sha: z.string(),
    git_describe: z.string(),
  }),
  webserver: z.boolean(),
}).openapi("TabbyHealthState");

export function toHealthState({ id, backend }: ModelInfo, version: string): z.output<typeof healthState> {
  const processors = cpus();
  return {
    model: id,
    device: backend,
    cuda_devices: [],
    models: { completion: { local: { model_id: id, device: backend } } },
    arch: Deno.build.arch,
    cpu_info: processors[0]?.model ?? "",
    cpu_count: processors.length,
    version: { build_date: "", build_timestamp: "", git_sha: "", git_describe: `v${version}` },
    webserver: false,
  };
}

export function tabbyServerInfo(models: ModelChoice): OpenAPIHono {
  const app = new OpenAPIHono();
  app.get("/v1beta/server_setting", (c) => c.json({ disable_client_side_telemetry: true }));
  app.get("/v1beta/models", (c) => c.json({ completion: [models.primary.model.id], chat: [] }));
  documentRoute(app, {
    method: "get",
    path: "/v1beta/server_setting",
    summary: "Tabby's clients are to send no telemetry elsewhere",
    reply: z.object({ disable_client_side_telemetry: z.literal(true) }),
  });
  documentRoute(app, {
    method: "get",
    path: "/v1beta/models",
    summary: "The model that Tabby's clients get, as Tabby lists its models",
    reply: z.object({ completion: z.array(z.string()), chat: z.array(z.string()) }),
  });
  return app;
}
