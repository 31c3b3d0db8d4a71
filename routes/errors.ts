// The only place where an error becomes an HTTP status and a JSON body. Two shapes leave it: OpenAI's, and llama.cpp's
// on the routes that follow llama.cpp. Knows the engine's error classes, and nothing of how requests are served.
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { EngineUnavailableError, InvalidRequestError } from "../engine/errors.ts";

export type Dialect = "openai" | "llama";

interface Mapping {
  readonly status: number;
  /** `error.type` in OpenAI's shape. */
  readonly openai: string;
  /** `error.type` in llama.cpp's shape. */
  readonly llama: string;
  /** Where llama.cpp answers with another status. */
  readonly llamaStatus?: number;
}

const MAPPINGS = {
  invalid: { status: 400, openai: "invalid_request_error", llama: "invalid_request_error" },
  contextLength: { status: 400, openai: "invalid_request_error", llama: "exceed_context_size_error" },
  fimUnsupported: {
    status: 400,
    openai: "invalid_request_error",
    llama: "not_supported_error",
    llamaStatus: 501,
  },
  unauthenticated: { status: 401, openai: "invalid_request_error", llama: "authentication_error" },
  forbidden: { status: 403, openai: "permission_error", llama: "permission_error" },
  notFound: { status: 404, openai: "invalid_request_error", llama: "not_found_error" },
  methodNotAllowed: { status: 405, openai: "invalid_request_error", llama: "invalid_request_error" },
  bodyTimeout: { status: 408, openai: "invalid_request_error", llama: "invalid_request_error" },
  tooLarge: { status: 413, openai: "invalid_request_error", llama: "invalid_request_error" },
  mediaType: { status: 415, openai: "invalid_request_error", llama: "invalid_request_error" },
  headersTooLarge: { status: 431, openai: "invalid_request_error", llama: "invalid_request_error" },
  rateLimited: { status: 429, openai: "rate_limit_exceeded", llama: "unavailable_error" },
  queueFull: { status: 429, openai: "rate_limit_exceeded", llama: "unavailable_error" },
  // The client has left, so nobody reads this; 499 is what proxies log for it.
  cancelled: { status: 499, openai: "invalid_request_error", llama: "invalid_request_error" },
  internal: { status: 500, openai: "server_error", llama: "server_error" },
  // No Retry-After: until somebody mends it the answer is the same.
  notInstalled: { status: 501, openai: "server_error", llama: "not_supported_error" },
  unavailable: { status: 503, openai: "overloaded", llama: "unavailable_error" },
} as const satisfies Record<string, Mapping>;

export type ProblemKind = keyof typeof MAPPINGS;

export interface ProblemDetails {
  /** Wire name of the field at fault. */
  readonly param?: string | undefined;
  /** OpenAI's machine-readable `error.code`. */
  readonly code?: string | undefined;
  readonly retryAfterSeconds?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly tokens?: { readonly prompt: number; readonly context: number } | undefined;
}

/** An error that says what the client is to be told. Routes throw it; everything else is translated by `toProblem`. */
export class HttpProblem extends Error {
  override readonly name = "HttpProblem";
  readonly kind: ProblemKind;
  readonly details: ProblemDetails;

  constructor(kind: ProblemKind, message: string, details: ProblemDetails = {}) {
    super(message);
    this.kind = kind;
    this.details = details;
  }
}

/** The dialect in which a path answers, errors included. */
export function dialectOf(path: string): Dialect {
  return /^\/(infill|slots|health|v1\/health)\/?$/.test(path) ? "llama" : "openai";
}

/** Told of errors that are bugs; the client reads only "Internal server error". */
export type ReportError = (
  error: unknown,
  context: { readonly method: string; readonly path: string },
) => void;

/** Translates whatever a request's handler, or its stream, has thrown. */
export function explain(error: unknown, c: Context, report: ReportError): HttpProblem {
  const { method, path } = c.req;
  const problem = toProblem(error, dialectOf(path));
  if (problem.kind === "internal") report(error, { method, path });
  return problem;
}

function toProblem(error: unknown, dialect: Dialect): HttpProblem {
  if (error instanceof HttpProblem) return error;
  if (error instanceof InvalidRequestError) return invalidRequestProblem(error, dialect);
  if (error instanceof EngineUnavailableError) return unavailableProblem(error, dialect);
  return new HttpProblem("internal", "Internal server error", { code: "internal_error" });
}

function invalidRequestProblem(error: InvalidRequestError, dialect: Dialect): HttpProblem {
  const { reason, tokens } = error;
  const param = wireName(error.field, dialect);
  const message = inWireNames(error.message, error.field, param);
  switch (reason) {
    case "context_length_exceeded":
      return new HttpProblem("contextLength", message, { param, code: reason, tokens });
    case "fim_unsupported":
      return new HttpProblem("fimUnsupported", message, {
        param: dialect === "llama" ? "input_suffix" : "suffix",
        code: reason,
      });
    case "invalid_value":
      return new HttpProblem("invalid", message, { param, code: reason });
  }
}

function unavailableProblem(error: EngineUnavailableError, dialect: Dialect): HttpProblem {
  const retryAfterSeconds = error.retryAfter;
  if (error.reason === "no_grammar_library") {
    const param = wireName(error.field!, dialect);
    return new HttpProblem("notInstalled", error.message, { param, code: error.reason });
  }
  if (error.reason === "queue_full") {
    return new HttpProblem("queueFull", error.message, { code: "rate_limit_exceeded", retryAfterSeconds });
  }
  return new HttpProblem("unavailable", error.message, { code: error.reason, retryAfterSeconds });
}

const LLAMA_NAMES: Readonly<Record<string, string>> = {
  maxTokens: "n_predict",
  n: "n_cmpl",
  logprobs: "n_probs",
};

/** The client's word for a part of the GenerationRequest: "maxTokens" is max_tokens, and n_predict to llama.cpp. */
function wireName(field: string, dialect: Dialect): string {
  const [head = field] = field.split(/[.[]/, 1);
  const llamaName = dialect === "llama" ? LLAMA_NAMES[head] : undefined;
  return llamaName ?? head.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The engine's messages call a field as the engine does. */
function inWireNames(message: string, field: string, param: string): string {
  const [head = field] = field.split(/[.[]/, 1);
  return head === param ? message : message.replace(new RegExp(`(?<=^|\\s)${head}(?=\\s)`), `"${param}"`);
}

/** The body `{"error": {...}}`; also what a stream sends that fails after its first event. */
export function errorBody(problem: HttpProblem, dialect: Dialect): { error: Record<string, unknown> } {
  const { message } = problem;
  const { param = null, code = null, tokens } = problem.details;
  const mapping: Mapping = MAPPINGS[problem.kind];
  if (dialect === "openai") return { error: { message, type: mapping.openai, param, code } };
  return {
    error: {
      code: mapping.llamaStatus ?? mapping.status,
      message,
      type: mapping.llama,
      param,
      ...(tokens && { n_prompt_tokens: tokens.prompt, n_ctx: tokens.context }),
    },
  };
}

/** The whole response: status, `Retry-After` and other headers, and the body in the dialect of the request's path. */
export function errorResponse(c: Context, problem: HttpProblem): Response {
  const dialect = dialectOf(c.req.path);
  const mapping: Mapping = MAPPINGS[problem.kind];
  const status = dialect === "llama" ? mapping.llamaStatus ?? mapping.status : mapping.status;
  const { retryAfterSeconds, headers = {} } = problem.details;
  const retry = retryAfterSeconds === undefined ? {} : { "Retry-After": `${Math.ceil(retryAfterSeconds)}` };
  return c.json(errorBody(problem, dialect), status as ContentfulStatusCode, { ...headers, ...retry });
}
