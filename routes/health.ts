// Probes: /healthz (the process answers), /readyz (the model does), /health as llama.cpp has it, and /v1/health, which
// llama.cpp and Tabby have: one reply that is both. All are open to everybody; where the server has keys, whoever shows none
// learns how it stands, and neither what it serves nor what went wrong on the machine.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { EngineState } from "../engine/engine.ts";
import type { ModelChoice } from "../engine/model_choice.ts";
import { type Drain, drainingProblem } from "./drain.ts";
import { HttpProblem } from "./http_problem.ts";
import { documentRoute, errorReply } from "./openapi.ts";
import { healthState, toHealthState } from "./tabby/server_info.ts";

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
  model: z.string().optional().describe("The model of requests that name none."),
  models: z.array(modelStatus).optional().describe("All of them, where there are several."),
}).openapi("Ready");
const notReady = z.object({
  status: z.enum(["loading", "rebuilding", "failed", "draining"]),
  reason: z.string(),
  progress: z.number().optional().describe("0 to 1, while loading."),
}).openapi("NotReady");

/** Of the machine nothing, unless the client may know. */
const bothHealths = alive.extend(healthState.partial().shape).openapi("Health");

export interface HealthOptions {
  readonly drain: Drain;
  readonly version: string;
  /** Whether requests need an API key. */
  readonly secured: boolean;
}

export function health(models: ModelChoice, { drain, version, secured }: HealthOptions): OpenAPIHono {
  const engine = models.primary, app = new OpenAPIHono();
  const mayKnow = (c: Context) => !secured || c.get("exchange").keyName !== undefined;
  const shownState = (c: Context) => mayKnow(c) ? engine.state : withoutReason(engine.state);
  app.get("/healthz", (c) => c.json({ status: "ok" }));
  app.get("/readyz", (c) => {
    const state = shownState(c);
    if (drain.draining) return c.json(DRAINING, 503);
    if (state.phase === "ready") return c.json(mayKnow(c) ? describeReady(models) : { status: "ready" });
    return c.json(describeState(state), 503, { "Retry-After": `${RETRY_AFTER_SECONDS}` });
  });
  app.get("/health", (c) => {
    requireServing(shownState(c), drain);
    return c.json({ status: "ok" });
  });
  app.on(["GET", "POST"], "/v1/health", (c) => {
    requireServing(shownState(c), drain);
    return c.json({ status: "ok", ...(mayKnow(c) && toHealthState(engine.model, version)) });
  });
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
    description: "Where the server has keys, a client that shows none learns the status alone.",
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
  for (const method of ["get", "post"] as const) {
    documentRoute(app, {
      method,
      path: "/v1/health",
      summary: "The same, with what Tabby's clients read; by POST it needs a key where the server has any",
      description: "Where the server has keys, a client that shows none learns the status alone.",
      reply: bothHealths,
      probe: { notReady: errorReply },
    });
  }
}

function requireServing(state: EngineState, drain: Drain): void {
  if (drain.draining) throw drainingProblem();
  requireReady(state);
}

/** A reason names the machine's files and devices. */
function withoutReason(state: EngineState): EngineState {
  switch (state.phase) {
    case "failed":
      return { ...state, reason: "The model could not be opened: the server's log says why" };
    case "rebuilding":
      return { ...state, reason: "The model is being opened anew" };
    default:
      return state;
  }
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

export function requireReady(state: EngineState): void {
  if (state.phase === "ready") return;
  const message = state.phase === "loading" ? "Loading model" : state.reason;
  throw new HttpProblem("unavailable", message, { retryAfterSeconds: RETRY_AFTER_SECONDS });
}
