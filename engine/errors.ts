// The errors that callers of the engine tell apart. Everything else is a bug and surfaces as an internal error.

export type InvalidRequestReason =
  | "context_length_exceeded"
  | "fim_unsupported"
  | "invalid_value";

/** The request cannot be served as it is, now or later. `field` names the part of the GenerationRequest at fault. */
export class InvalidRequestError extends Error {
  override readonly name = "InvalidRequestError";
  readonly field: string;
  readonly reason: InvalidRequestReason;
  /** For context_length_exceeded: tokens in the prompt and tokens that fit. */
  readonly tokens?: { readonly prompt: number; readonly context: number };

  constructor(
    message: string,
    options: {
      field: string;
      reason: InvalidRequestReason;
      tokens?: { readonly prompt: number; readonly context: number };
    },
  ) {
    super(message);
    this.field = options.field;
    this.reason = options.reason;
    if (options.tokens) this.tokens = options.tokens;
  }
}

export type UnavailableReason =
  | "loading"
  | "failed"
  | "queue_full"
  | "timeout"
  | "device_lost"
  | "closed"
  /** Nothing that time mends. */
  | "no_grammar_library";

/** The engine cannot serve this request at present; the same request may succeed later. */
export class EngineUnavailableError extends Error {
  override readonly name = "EngineUnavailableError";
  readonly reason: UnavailableReason;
  /** Seconds after which a retry makes sense. */
  readonly retryAfter: number;
  /** The client's name of the field that asks for what there is not. */
  readonly field?: string;

  constructor(message: string, reason: UnavailableReason, retryAfter = 1, field?: string) {
    super(message);
    this.reason = reason;
    this.retryAfter = retryAfter;
    if (field !== undefined) this.field = field;
  }
}

/** For requests that a device was lost with. */
export function deviceLostError(reason: string): EngineUnavailableError {
  return new EngineUnavailableError(
    `The device was lost: ${reason}; the request can be sent again`,
    "device_lost",
  );
}
