// Probes: /healthz (the process answers), /readyz (the model does), and /health as llama.cpp has it.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Engine, EngineState } from "../engine/engine.ts";
import { HttpProblem } from "./errors.ts";
import { documentRoute, errorReply } from "./openapi.ts";

const RETRY_AFTER_SECONDS = 1;

const alive = z.object({ status: z.literal("ok") });
const ready = z.object({ status: z.literal("ready"), model: z.string() }).openapi("Ready");
const notReady = z.object({
  status: z.enum(["loading", "rebuilding", "failed"]),
  reason: z.string(),
  progress: z.number().optional().describe("0 to 1, while loading."),
}).openapi("NotReady");

export function health(engine: Engine): OpenAPIHono {
  const app = new OpenAPIHono();
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/readyz", (c) => {
    const { state } = engine;
    if (state.phase === "ready") return c.json({ status: "ready", model: engine.model.id });
    return c.json(describeState(state), 503, { "Retry-After": `${RETRY_AFTER_SECONDS}` });
  });
  for (const path of ["/health", "/v1/health"]) {
    app.get(path, (c) => {
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
    summary: "Is the model loaded?",
    reply: ready,
    probe: { notReady },
  });
  documentRoute(app, {
    method: "get",
    path: "/health",
    summary: "As llama.cpp's server: 503 until the model is loaded",
    reply: alive,
    probe: { notReady: errorReply },
  });
}

type NotReadyState = Exclude<EngineState, { phase: "ready" }>;

function describeState(state: NotReadyState): z.output<typeof notReady> {
  if (state.phase !== "loading") return { status: state.phase, reason: state.reason };
  return { status: "loading", reason: "The model is being loaded", progress: state.progress };
}

function requireReady(state: EngineState): void {
  if (state.phase === "ready") return;
  const message = state.phase === "loading" ? "Loading model" : state.reason;
  throw new HttpProblem("unavailable", message, { retryAfterSeconds: RETRY_AFTER_SECONDS });
}
