// The HTTP application: what every request passes through, and one line a dialect. Knows the engine's interface only, so
// that tests give it an engine of their own.
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { cors } from "hono/cors";
import { methodNotAllowed } from "hono/method-not-allowed";
import { requestId } from "hono/request-id";
import type { Engine } from "../engine/engine.ts";
import { requireApiKey } from "./auth.ts";
import { errorResponse, explain, HttpProblem, type ReportError } from "./errors.ts";
import { health } from "./health.ts";
import { llamaInfill } from "./llama_infill.ts";
import { openAiCompletions } from "./openai_completions.ts";
import { openAiModels } from "./openai_models.ts";
import { serveReference } from "./openapi.ts";

export interface AppOptions {
  /** Keys of which a request must show one; none means that everybody may pass. */
  readonly apiKeys: readonly string[];
  /** Largest request body, bytes. */
  readonly bodyLimitBytes?: number;
  /** Shown in the API's description. */
  readonly version?: string;
  /** By default, writes to stderr. */
  readonly reportError?: ReportError;
}

/** Room for a context of a million tokens of code; more than any model here can read. */
const DEFAULT_BODY_LIMIT_BYTES = 8 * 1024 * 1024;

/** @throws {TypeError} an API key is empty */
export function createApp(engine: Engine, options: AppOptions): OpenAPIHono {
  const { apiKeys, version = "0.0.0", bodyLimitBytes = DEFAULT_BODY_LIMIT_BYTES } = options;
  const report = options.reportError ?? logError;
  const app = new OpenAPIHono();
  app.onError((error, c) => errorResponse(c, explain(error, c, report)));
  app.notFound(handleUnknownRoute);
  app.use(requestId());
  // Before the key is asked for: a browser's preflight cannot carry one.
  app.use(cors({ origin: "*", exposeHeaders: ["X-Request-Id", "Retry-After"] }));
  app.use(methodNotAllowed({ app, onMethodNotAllowed: handleWrongMethod }));
  app.use(requireApiKey(apiKeys));
  app.route("/", openAiCompletions(engine, { bodyLimitBytes, report }));
  app.route("/", openAiModels(engine));
  app.route("/", llamaInfill(engine, { bodyLimitBytes, report }));
  app.route("/", health(engine));
  serveReference(app, { version, secured: apiKeys.length > 0 });
  return app;
}

function handleUnknownRoute(c: Context): Response {
  const { method, path } = c.req;
  return errorResponse(
    c,
    new HttpProblem("notFound", `Unknown route: ${method} ${path}; GET /docs lists the routes`, {
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

function logError(error: unknown, { method, path }: { method: string; path: string }): void {
  console.error(`${method} ${path} failed:`, error);
}
