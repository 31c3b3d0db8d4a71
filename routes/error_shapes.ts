// Status and body of an error in each dialect. Knows problems, and neither where they come from nor how they are sent.
import type { Dialect } from "./dialects.ts";
import { type HttpProblem, type ProblemKind, STATUSES } from "./http_problem.ts";

/** Text is sent as such, undefined as no body at all. */
export type ErrorBody = object | string | undefined;

export interface ErrorShape {
  /** Where the dialect answers otherwise than most. */
  readonly statuses: Partial<Record<ProblemKind, number>>;
  readonly body: (problem: HttpProblem, status: number) => ErrorBody;
  /** What a stream sends that fails after its first event; absent where it is the body. */
  readonly frame?: (problem: HttpProblem, status: number) => object;
}

/** "invalid" stands for all kinds that are not named: mistakes of the client. */
type Types = Partial<Record<ProblemKind, string>> & { readonly invalid: string };

const OPENAI_TYPES: Types = {
  invalid: "invalid_request_error",
  forbidden: "permission_error",
  rateLimited: "rate_limit_exceeded",
  queueFull: "rate_limit_exceeded",
  internal: "server_error",
  notSupported: "server_error",
  notInstalled: "server_error",
  unavailable: "overloaded",
};

const LLAMA_TYPES: Types = {
  invalid: "invalid_request_error",
  contextLength: "exceed_context_size_error",
  fimUnsupported: "not_supported_error",
  unauthenticated: "authentication_error",
  forbidden: "permission_error",
  notFound: "not_found_error",
  rateLimited: "unavailable_error",
  queueFull: "unavailable_error",
  internal: "server_error",
  notSupported: "not_supported_error",
  notInstalled: "not_supported_error",
  unavailable: "unavailable_error",
};

const TGI_TYPES: Types = {
  invalid: "validation",
  rateLimited: "overloaded",
  queueFull: "overloaded",
  internal: "incomplete_generation",
  unavailable: "unhealthy",
};

export const ERROR_SHAPES: Readonly<Record<Dialect, ErrorShape>> = {
  openai: {
    statuses: {},
    body: (problem) => ({ ...openAiBody(problem), detail: [fastApiDetail(problem)] }),
    frame: openAiBody,
  },
  llama: { statuses: { fimUnsupported: 501 }, body: llamaBody },
  tgi: {
    statuses: { invalid: 422, contextLength: 422, fimUnsupported: 422, notSupported: 422 },
    body: (problem, status) => status === 401 ? undefined : tgiBody(problem),
  },
  ollama: { statuses: { queueFull: 503 }, body: ({ message }) => ({ error: message }) },
  // Tabby sends statuses alone; its clients read no more, and whoever looks himself finds the reason.
  tabby: { statuses: { fimUnsupported: 501 }, body: ({ message }) => message },
};

export function statusIn(dialect: Dialect, kind: ProblemKind): number {
  return ERROR_SHAPES[dialect].statuses[kind] ?? STATUSES[kind];
}

/** What a stream sends that fails after its first event. */
export function errorFrame(problem: HttpProblem, dialect: Dialect): object {
  const { body, frame = body } = ERROR_SHAPES[dialect];
  const found = frame(problem, statusIn(dialect, problem.kind));
  return typeof found === "object" ? found : { error: problem.message };
}

function openAiBody({ kind, message, details: { param, code } }: HttpProblem) {
  return { error: { message, type: typeOf(OPENAI_TYPES, kind), param: param ?? null, code: code ?? null } };
}

/**
 * llm-ls reads the errors of OpenAI's route in FastAPI's form and nothing else; FastAPI has a list for `loc`, which
 * llm-ls cannot read (crates/llm-ls/src/backend.rs at 1c52b94).
 */
function fastApiDetail({ kind, message, details: { param = "body" } }: HttpProblem) {
  return { loc: param, msg: message, type: typeOf(OPENAI_TYPES, kind) };
}

function llamaBody({ kind, message, details: { param, tokens } }: HttpProblem, status: number) {
  return {
    error: {
      code: status,
      message,
      type: typeOf(LLAMA_TYPES, kind),
      param: param ?? null,
      ...(tokens && { n_prompt_tokens: tokens.prompt, n_ctx: tokens.context }),
    },
  };
}

function tgiBody({ kind, message }: HttpProblem) {
  return { error: message, error_type: typeOf(TGI_TYPES, kind) };
}

function typeOf(types: Types, kind: ProblemKind): string {
  return types[kind] ?? types.invalid;
}
