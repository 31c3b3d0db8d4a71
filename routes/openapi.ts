// The API's description: an OpenAPI 3.1 document made from the schemas that also validate, and a page that shows it.
import { OpenAPIHono, z } from "@hono/zod-openapi";
import page from "./reference_page.html" with { type: "text" };

export interface RouteDescription {
  readonly method: "get" | "post";
  /** With parameters in braces. */
  readonly path: string;
  readonly summary: string;
  readonly description?: string;
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly request?: z.ZodType;
  readonly reply: z.ZodType;
  /** Content type of the reply; JSON by default. */
  readonly replyType?: string;
  /** The reply can also come as server-sent events, or in the content type named. */
  readonly stream?: boolean | string;
  /** A body that works, for a POST. */
  readonly example?: object;
  /** Statuses beside those that every route has. */
  readonly errors?: Readonly<Record<number, string>>;
  /** The body of its errors. By default OpenAI's, which is llama.cpp's but for `code`. */
  readonly errorReply?: z.ZodType;
  /** Needs no API key, and answers 503 with this body while it is not ready. */
  readonly probe?: { readonly notReady: z.ZodType } | boolean;
}

export const errorReply = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable(),
    code: z.union([z.string(), z.int()]).nullable().describe(
      "A word; on llama.cpp's routes the HTTP status.",
    ),
  }),
}).openapi("Error");

const BODY_STATUSES = {
  400: "A field is wrong; `param` names it.",
  408: "The body took too long to arrive.",
  413: "The body is too large.",
  415: "The body is not `application/json`.",
  429: "Too many requests wait, or the key's limit is reached; see `Retry-After`.",
  500: "A fault of the server; its log has the reason.",
  501: "The model, or this machine, cannot do what a field asks for; `param` names it.",
} as const;

/** What every route that computes reads beside the body; `standing.ts` has the first two. */
const WORK_HEADERS = z.object({
  "X-Session-Id": z.string().optional().describe("As the field `session_id`, and before it."),
  "X-Priority": z.string().optional().describe("As the field `priority`, and before it."),
  "X-Request-Id": z.string().optional().describe(
    "Comes back with the reply; the log, `/slots` and traces call the request so. Absent: drawn.",
  ),
});

const ERROR_STATUSES = {
  401: "The API key is missing or wrong.",
  404: "No such model or route.",
  405: "The route does not answer to this method; see `Allow`.",
  431: "The address and the headers are too large.",
  503: "The model is loading, its device is being reopened, or the server shuts down; see `Retry-After`.",
} as const;

/** Adds a route to the document. */
export function documentRoute(app: OpenAPIHono, route: RouteDescription): void {
  const { method, path, summary, description, params, query, request, example, errors, probe } = route;
  app.openAPIRegistry.registerPath({
    method,
    path,
    summary,
    ...(description && { description }),
    request: {
      ...(params && { params }),
      ...(query && { query }),
      ...(request &&
        { headers: WORK_HEADERS, body: { required: true, content: jsonContent(request, example) } }),
    },
    responses: {
      200: successResponse(route),
      ...(probe ? probeResponses(probe) : errorResponses({
        ...(request && BODY_STATUSES),
        ...ERROR_STATUSES,
        ...errors,
      }, route.errorReply ?? errorReply)),
    },
    ...(probe && { security: [] }),
  });
}

function jsonContent(schema: z.ZodType, example?: object) {
  return { "application/json": { schema, ...(example && { example }) } };
}

function successResponse({ reply, replyType, stream }: RouteDescription) {
  const content = replyType ? { [replyType]: { schema: reply } } : jsonContent(reply);
  if (!stream) return { description: "OK", content };
  const streamType = typeof stream === "string" ? stream : "text/event-stream";
  return { description: "OK", content: { ...content, [streamType]: { schema: z.string() } } };
}

function errorResponses(statuses: Readonly<Record<number, string>>, reply: z.ZodType) {
  const content = jsonContent(reply);
  return Object.fromEntries(
    Object.entries(statuses).map(([status, description]) => [status, { description, content }]),
  );
}

function probeResponses(probe: { readonly notReady: z.ZodType } | boolean) {
  if (typeof probe === "boolean") return {};
  return { 503: { description: "Not ready", content: jsonContent(probe.notReady) } };
}

export interface ApiInfo {
  readonly version: string;
  /** Whether requests need an API key. */
  readonly secured: boolean;
}

/** Serves the document of all routes of `app` at /openapi.json, and the page at /docs. */
export function serveReference(app: OpenAPIHono, info: ApiInfo): void {
  const { openAPIRegistry: registry } = app;
  registry.registerComponent("securitySchemes", "bearer", { type: "http", scheme: "bearer" });
  registry.registerComponent("securitySchemes", "apiKey", {
    type: "apiKey",
    in: "header",
    name: "X-Api-Key",
  });
  app.doc31("/openapi.json", {
    openapi: "3.1.0",
    info: {
      title: "Hyades",
      version: info.version,
      description: "Code completion over HTTP, with fill-in-the-middle.",
    },
    // Either; a server without keys takes any, and none.
    ...(info.secured && { security: [{ bearer: [] }, { apiKey: [] }] }),
  });
  app.get("/docs", (c) => c.html(page, 200, { "Content-Security-Policy": PAGE_POLICY }));
  // A browser wants to see something; Ollama's clients ask whether somebody is there, and read these words.
  app.get("/", (c) => {
    const isBrowser = c.req.header("accept")?.includes("text/html") ?? false;
    return isBrowser ? c.redirect("/docs") : c.text("Ollama is running");
  });
}

/** The page is one file and talks to nobody but this server. */
const PAGE_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
