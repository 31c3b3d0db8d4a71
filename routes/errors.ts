// The only place where an error becomes a reply. Knows the engine's error classes, and that dialects have their own
// shapes and names (`error_shapes.ts`).
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { EngineUnavailableError, InvalidRequestError } from "../engine/errors.ts";
import { type Dialect, dialectOf } from "./dialects.ts";
import { ERROR_SHAPES, statusIn } from "./error_shapes.ts";
import { HttpProblem } from "./http_problem.ts";

declare module "hono" {
  interface ContextVariableMap {
    /** The client's word for its prompt; set by a route whose dialect has another for it as well. */
    promptName: string;
  }
}

/** Told of errors that are bugs; the client reads only "Internal server error". */
export type ReportError = (
  error: unknown,
  context: { readonly method: string; readonly path: string },
) => void;

/** Translates whatever a request's handler, or its stream, has thrown. */
export function explain(error: unknown, c: Context, report: ReportError): HttpProblem {
  const { method, path } = c.req;
  const problem = toProblem(error, dialectOf(c), c.get("promptName"));
  if (problem.kind === "internal") report(error, { method, path });
  return problem;
}

function toProblem(error: unknown, dialect: Dialect, promptName: string | undefined): HttpProblem {
  if (error instanceof HttpProblem) return error;
  if (error instanceof InvalidRequestError) return invalidRequestProblem(error, dialect, promptName);
  if (error instanceof EngineUnavailableError) return unavailableProblem(error, dialect);
  return new HttpProblem("internal", "Internal server error", { code: "internal_error" });
}

function invalidRequestProblem(
  error: InvalidRequestError,
  dialect: Dialect,
  promptName: string | undefined,
): HttpProblem {
  const { reason, tokens } = error;
  const param = error.field === "prompt" && promptName || wireName(error.field, dialect);
  const message = inWireNames(error.message, error.field, param);
  switch (reason) {
    case "context_length_exceeded":
      return new HttpProblem("contextLength", message, { param, code: reason, tokens });
    case "fim_unsupported":
      return new HttpProblem("fimUnsupported", message, { param: SUFFIX_NAMES[dialect], code: reason });
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

/** Where a dialect's word for a part of the GenerationRequest is not the engine's in snake case. */
const NAMES: Readonly<Record<Dialect, Readonly<Record<string, string>>>> = {
  openai: {},
  llama: { maxTokens: "n_predict", n: "n_cmpl", logprobs: "n_probs" },
  tgi: {
    ...within("parameters", ["temperature", "topK", "topP", "frequencyPenalty", "seed", "stop", "cacheSalt"]),
    prompt: "inputs",
    keep: "parameters.truncate",
    maxTokens: "parameters.max_new_tokens",
    n: "parameters.best_of",
    logprobs: "parameters.top_n_tokens",
  },
  ollama: {
    ...within("options", ["temperature", "topK", "topP", "minP", "seed", "stop"]),
    ...within("options", ["presencePenalty", "frequencyPenalty"]),
    before: "context",
    maxTokens: "options.num_predict",
    logprobs: "top_logprobs",
  },
  tabby: { prompt: "segments" },
};

function within(object: string, fields: readonly string[]): Record<string, string> {
  return Object.fromEntries(fields.map((field) => [field, `${object}.${toSnakeCase(field)}`]));
}

const SUFFIX_NAMES: Readonly<Record<Dialect, string>> = {
  openai: "suffix",
  llama: "input_suffix",
  tgi: "inputs",
  ollama: "suffix",
  tabby: "segments.suffix",
};

/** The client's word for a part of the GenerationRequest: "maxTokens" is max_tokens, and n_predict to llama.cpp. */
function wireName(field: string, dialect: Dialect): string {
  const [head = field] = field.split(/[.[]/, 1);
  return NAMES[dialect][head] ?? toSnakeCase(head);
}

function toSnakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The engine's messages call a field as the engine does. */
function inWireNames(message: string, field: string, param: string): string {
  const [head = field] = field.split(/[.[]/, 1);
  return head === param ? message : message.replace(new RegExp(`(?<=^|\\s)${head}(?=\\s)`), `"${param}"`);
}

/** The whole response: status, `Retry-After` and other headers, and the body in the request's dialect. */
export function errorResponse(c: Context, problem: HttpProblem): Response {
  const dialect = dialectOf(c);
  const status = statusIn(dialect, problem.kind) as ContentfulStatusCode;
  const { retryAfterSeconds, headers = {} } = problem.details;
  const retry = retryAfterSeconds === undefined ? {} : { "Retry-After": `${Math.ceil(retryAfterSeconds)}` };
  const body = ERROR_SHAPES[dialect].body(problem, status);
  const all = { ...headers, ...retry };
  if (typeof body === "object") return c.json(body, status, all);
  return body === undefined ? c.body(null, status, all) : c.text(body, status, all);
}
