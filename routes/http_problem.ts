// An error that says what a client is to be told, in no dialect's words. Knows kinds and their usual HTTP statuses.

/** The kinds of problem, and the status that most dialects have for each (`error_shapes.ts`). */
export const STATUSES = {
  invalid: 400,
  contextLength: 400,
  fimUnsupported: 400,
  unauthenticated: 401,
  forbidden: 403,
  notFound: 404,
  methodNotAllowed: 405,
  bodyTimeout: 408,
  tooLarge: 413,
  mediaType: 415,
  rateLimited: 429,
  queueFull: 429,
  headersTooLarge: 431,
  // The client has left, so nobody reads this; 499 is what proxies log for it.
  cancelled: 499,
  internal: 500,
  // No Retry-After for these two: until somebody mends it the answer is the same.
  notSupported: 501,
  notInstalled: 501,
  unavailable: 503,
} as const;

export type ProblemKind = keyof typeof STATUSES;

export interface ProblemDetails {
  /** Wire name of the field at fault. */
  readonly param?: string | undefined;
  /** OpenAI's machine-readable `error.code`. */
  readonly code?: string | undefined;
  readonly retryAfterSeconds?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly tokens?: { readonly prompt: number; readonly context: number } | undefined;
}

/** Routes throw it; everything else is translated by `errors.ts`. */
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
