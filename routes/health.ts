// Probes: /healthz (the process answers), /readyz (the model does), and /health as llama.cpp has it.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { EngineState } from "../engine/engine.ts";
import type { ModelChoice } from "../engine/model_choice.ts";
import { type Drain, drainingProblem } from "./drain.ts";
import { HttpProblem } from "./errors.ts";
import { documentRoute, errorReply } from "./openapi.ts";

const RETRY_AFTER_SECONDS = 1;

const alive = z.object({ status: z.literal("ok") });
const modelStatus = z.object({
  id: z.string(),
  phase: z.enum(["unloaded", "loading", "ready", "rebuilding", "failed"]),
  progress: z.number().optional().describe("0 to 1, while loading."),
  reason: z.string().optional().describe("Why it failed, or is being rebuilt."),
  users: z.int().describe("Requests that have the model, or wait for it."),
});
const ready = z.object({
  status: z.literal("ready"),
  model: z.string().describe("The model of requests that name none."),
  models: z.array(modelStatus).optional().describe("All of them, where there are several."),
}).openapi("Ready");
const notReady = z.object({
  status: z.enum(["loading", "rebuilding", "failed", "draining"]),
  reason: z.string(),
  progress: z.number().optional().describe("0 to 1, while loading."),
}).openapi("NotReady");

export function health(models: ModelChoice, drain: Drain): OpenAPIHono {
  const engine = models.primary, app = new OpenAPIHono();
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/readyz", (c) => {
    const { state } = engine;
    if (drain.draining) return c.json(DRAINING, 503);
    if (state.phase === "ready") return c.json(describeReady(models));
    return c.json(describeState(state), 503, { "Retry-After": `${RETRY_AFTER_SECONDS}` });
  });
  for (const path of ["/health", "/v1/health"]) {
    app.get(path, (c) => {
      if (drain.draining) throw drainingProblem();
      requireReady(engine.state);
      return c.json({ status: "ok" });
    });
  }
  documentProbes(app);
  return app;
}

function documentProbes(app: OpenAPIHono): void {
  documentRoute(app, {
    method: "get",
    path: "/healthz",
    summary: "Is the server alive?",
    reply: alive,
    probe: true,
  });
  documentRoute(app, {
    method: "get",
    path: "/readyz",
    summary: "Does the server take requests?",
    reply: ready,
    probe: { notReady },
  });
  documentRoute(app, {
    method: "get",
    path: "/health",
    summary: "As llama.cpp's server: 503 until the model is loaded, and while the server shuts down",
    reply: alive,
    probe: { notReady: errorReply },
  });
}

function describeReady(models: ModelChoice): z.output<typeof ready> {
  const statuses = models.statuses();
  const several = statuses.length > 1 ? { models: [...statuses] } : {};
  return { status: "ready", model: models.primary.model.id, ...several };
}

type NotReadyState = Exclude<EngineState, { phase: "ready" }>;

function describeState(state: NotReadyState): z.output<typeof notReady> {
  if (state.phase !== "loading") return { status: state.phase, reason: state.reason };
  return { status: "loading", reason: "The model is being loaded", progress: state.progress };
}

const DRAINING: z.output<typeof notReady> = { status: "draining", reason: "The server is shutting down" };

function requireReady(state: EngineState): void {
  if (state.phase === "ready") return;
  const message = state.phase === "loading" ? "Loading model" : state.reason;
  throw new HttpProblem("unavailable", message, { retryAfterSeconds: RETRY_AFTER_SECONDS });
}
