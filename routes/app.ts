// The HTTP application: what every request passes through, and one line a dialect. Knows the engine's interface only, so
// that tests give it an engine of their own.
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context, MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { methodNotAllowed } from "hono/method-not-allowed";
import { requestId } from "hono/request-id";
import type { Deadlines } from "../engine/deadlines.ts";
import type { Engine } from "../engine/engine.ts";
import { type ModelChoice, SingleModel } from "../engine/model_choice.ts";
import type { ApiKey } from "./api_keys.ts";
import { requireApiKey } from "./auth.ts";
import { cacheBlocksRoute } from "./cache_blocks.ts";
import { Drain, refuseWhileDraining } from "./drain.ts";
import { errorResponse, explain, type ReportError } from "./errors.ts";
import { HttpProblem } from "./http_problem.ts";
import { watchExchanges } from "./exchange.ts";
import { limitHeaders } from "./header_limit.ts";
import { health } from "./health.ts";
import { KeyLimits, limitKeys } from "./key_limits.ts";
import { llamaCompletion } from "./llama/completion.ts";
import { llamaInfill } from "./llama/infill.ts";
import { llamaProps } from "./llama/props.ts";
import { llamaSlots } from "./llama/slots.ts";
import { llamaTokens } from "./llama/tokens.ts";
import { Log, logExchanges } from "./log.ts";
import { metricsRoute } from "./metrics.ts";
import { ollamaGenerate } from "./ollama/generate.ts";
import { ollamaModels } from "./ollama/models.ts";
import { fimCompletions } from "./openai/fim_completions.ts";
import { openAiModels } from "./openai/models.ts";
import { serveReference } from "./openapi.ts";
import { playground } from "./playground.ts";
import { ServerMetrics } from "./server_metrics.ts";
import { tabbyEvents } from "./tabby/events.ts";
import { tabbyServerInfo } from "./tabby/server_info.ts";
import { tgiGenerate } from "./tgi/generate.ts";
import { tgiInfo } from "./tgi/info.ts";
import { traceExchanges } from "./tracing.ts";
import { v1Completions } from "./v1_completions.ts";

export interface AppOptions {
  /** Keys of which a request must show one; none means that everybody may pass. */
  readonly apiKeys: readonly ApiKey[];
  /** Largest request body, bytes. Default 8 MiB. */
  readonly bodyLimitBytes?: number;
  /** Most time that a body may take to arrive, milliseconds. Default 30 s. */
  readonly bodyTimeoutMs?: number;
  /** Most that a request's address and headers may weigh, bytes. Default 16 KiB. */
  readonly headerLimitBytes?: number;
  /** Bind every request; what a client asks for can only be shorter. */
  readonly deadlines?: Deadlines;
  /** Origins whose pages may call the server from a browser, "*" for all; none, and it answers no preflight. */
  readonly corsOrigins?: readonly string[];
  /** Begun by whoever stops the server. */
  readonly drain?: Drain;
  /** Shown in the API's description. */
  readonly version?: string;
  /** By default, errors alone on stderr. */
  readonly log?: Log;
  /** By default, writes to the log. */
  readonly reportError?: ReportError;
  /** Whether GET /slots may show prompts. */
  readonly showPrompts?: boolean;
  /** Folder of the playground's page, for browsers that ask for `/`; without it they get the reference. */
  readonly playgroundFolder?: URL;
  /** Milliseconds on a clock that never goes back. */
  readonly now?: () => number;
}

/** Room for a context of a million tokens of code; more than any model here can read. */
const DEFAULT_BODY_LIMIT_BYTES = 8 * 1024 * 1024;
const DEFAULT_BODY_TIMEOUT_MS = 30_000;
const DEFAULT_HEADER_LIMIT_BYTES = 16 * 1024;

/**
 * @param served one model, or a choice of several
 * @throws {TypeError} an API key is empty
 */
export function createApp(served: Engine | ModelChoice, options: AppOptions): OpenAPIHono {
  const { apiKeys, version = "0.0.0", corsOrigins = [], drain = new Drain() } = options;
  const { log = new Log({ level: "error" }), showPrompts = false, now = () => performance.now() } = options;
  const report = options.reportError ?? reportTo(log);
  const limits = new KeyLimits(apiKeys, now);
  const routeOptions = {
    bodyLimitBytes: options.bodyLimitBytes ?? DEFAULT_BODY_LIMIT_BYTES,
    bodyTimeoutMs: options.bodyTimeoutMs ?? DEFAULT_BODY_TIMEOUT_MS,
    deadlines: options.deadlines ?? {},
    report,
  };
  const secured = apiKeys.length > 0;
  const models = "choose" in served ? served : new SingleModel(served);
  const metrics = new ServerMetrics(() => models.primary.model.id);
  const app = new OpenAPIHono();
  app.onError((error, c) => errorResponse(c, explain(error, c, report)));
  app.notFound(handleUnknownRoute);
  app.use(requestId());
  app.use(watchExchanges([metrics, logExchanges(log), traceExchanges(), limits, drain], now));
  app.use(limitHeaders(options.headerLimitBytes ?? DEFAULT_HEADER_LIMIT_BYTES));
  // Before the key is asked for: a browser's preflight cannot carry one.
  if (corsOrigins.length > 0) app.use(allowOrigins(corsOrigins));
  app.use(methodNotAllowed({ app, onMethodNotAllowed: handleWrongMethod }));
  app.use(requireApiKey(apiKeys));
  app.use(refuseWhileDraining(drain));
  app.use(limitKeys(limits));
  app.route("/", v1Completions(models, routeOptions));
  app.route("/", fimCompletions(models, routeOptions));
  app.route("/", openAiModels(models));
  app.route("/", llamaInfill(models, routeOptions));
  app.route("/", llamaCompletion(models, routeOptions));
  app.route("/", llamaTokens(models, routeOptions));
  app.route("/", llamaProps(models, { version }));
  app.route("/", llamaSlots(models, { showPrompts }));
  app.route("/", tgiGenerate(models, routeOptions));
  app.route("/", tgiInfo(models, { version }));
  app.route("/", ollamaGenerate(models, routeOptions));
  app.route("/", ollamaModels(models, { ...routeOptions, version }));
  app.route("/", tabbyEvents({ ...routeOptions, count: (event) => metrics.countCompletionEvent(event) }));
  app.route("/", tabbyServerInfo(models));
  app.route("/", cacheBlocksRoute(models));
  app.route("/", metricsRoute(models, metrics));
  app.route("/", health(models, { drain, version, secured }));
  if (options.playgroundFolder) app.route("/", playground(options.playgroundFolder));
  serveReference(app, { version, secured });
  return app;
}

function allowOrigins(origins: readonly string[]): MiddlewareHandler {
  return cors({
    origin: origins.includes("*") ? "*" : [...origins],
    exposeHeaders: [
      ...["X-Request-Id", "Retry-After"],
      ...["X-RateLimit-Limit-Tokens", "X-RateLimit-Remaining-Tokens", "X-RateLimit-Reset-Tokens"],
    ],
  });
}

/** OpenAI's and Ollama's, which most clients try first. */
const CHAT_ROUTE = /\/chat(\/completions)?$/;

function handleUnknownRoute(c: Context): Response {
  const { method, path } = c.req;
  const instead = CHAT_ROUTE.test(path) ? "the models complete text and do not chat; " : "";
  return errorResponse(
    c,
    new HttpProblem("notFound", `Unknown route: ${method} ${path}; ${instead}GET /docs lists the routes`, {
      code: "unknown_route",
    }),
  );
}

function handleWrongMethod(c: Context, allowed: readonly string[]): Response {
  const { method, path } = c.req;
  const allow = allowed.join(", ");
  return errorResponse(
    c,
    new HttpProblem("methodNotAllowed", `${path} does not answer to ${method}: use ${allow}`, {
      code: "method_not_allowed",
      headers: { Allow: allow },
    }),
  );
}

function reportTo(log: Log): ReportError {
  return (error, { method, path }) => {
    const reason = error instanceof Error ? error.stack ?? error.message : String(error);
    log.add("error", "internal error", { method, path, reason });
  };
}
