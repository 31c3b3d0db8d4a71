// What passes between an engine's worker and the thread that uses it. Everything is plain data: errors travel as
// records and become errors of their class again.
import type { BlockMap } from "./block_map.ts";
import type { EngineState, EngineStats, ModelInfo } from "./engine.ts";
import type { EngineOptions } from "./engine_options.ts";
import {
  EngineUnavailableError,
  InvalidRequestError,
  type InvalidRequestReason,
  type UnavailableReason,
} from "./errors.ts";
import type { GenerationEvent, GenerationRequest } from "./request.ts";
import type { SequenceInfo } from "./sequence_info.ts";

/** A question with a single answer. */
export type EngineCall =
  | { readonly method: "tokenize"; readonly text: string; readonly parseSpecial: boolean }
  | { readonly method: "detokenize"; readonly ids: readonly number[] }
  | { readonly method: "tokenBytes"; readonly ids: readonly number[] }
  | { readonly method: "stats" }
  | { readonly method: "sequences"; readonly withPrompts: boolean }
  | { readonly method: "blocks" };

export type EngineAnswer = number[] | string | Uint8Array[] | EngineStats | SequenceInfo[] | BlockMap;

/** A worker's first message. All others come through the inbox. */
export interface OpenMessage {
  readonly options: EngineOptions;
  readonly inbox: MessagePort;
}

/** `id` names a request or a call; both count in one series. */
export type ToWorker =
  | { readonly kind: "submit"; readonly id: number; readonly request: PackedRequest }
  | { readonly kind: "cancel"; readonly id: number }
  | { readonly kind: "call"; readonly id: number; readonly call: EngineCall }
  | { readonly kind: "close" };

export type FromWorker =
  | { readonly kind: "state"; readonly state: EngineState; readonly model?: ModelInfo }
  /** A submitted request was taken in, or refused. */
  | { readonly kind: "taken" }
  | { readonly kind: "event"; readonly id: number; readonly event: GenerationEvent }
  | { readonly kind: "end"; readonly id: number }
  | { readonly kind: "answer"; readonly id: number; readonly value: EngineAnswer }
  | { readonly kind: "error"; readonly id: number; readonly error: ErrorRecord }
  | { readonly kind: "closed" };

/** A request on its way: the receiver looks through every element of an array, and a prompt may have very many. */
export type PackedRequest = Omit<GenerationRequest, "prompt"> & {
  readonly prompt: Exclude<GenerationRequest["prompt"], { kind: "tokens" }> | PackedTokens;
};

interface PackedTokens {
  readonly kind: "packedTokens";
  /** f64 each: what is no token id gets through as it is, and is refused where all else is. */
  readonly ids: ArrayBuffer;
}

export function packRequest(request: GenerationRequest): PackedRequest {
  const { prompt } = request;
  if (prompt.kind !== "tokens") return { ...request, prompt };
  return { ...request, prompt: { kind: "packedTokens", ids: Float64Array.from(prompt.ids).buffer } };
}

export function unpackRequest(request: PackedRequest): GenerationRequest {
  const { prompt } = request;
  if (prompt.kind !== "packedTokens") return { ...request, prompt };
  return { ...request, prompt: { kind: "tokens", ids: [...new Float64Array(prompt.ids)] } };
}

export type ErrorRecord =
  | {
    readonly class: "invalid_request";
    readonly message: string;
    readonly field: string;
    readonly reason: InvalidRequestReason;
    readonly tokens?: { readonly prompt: number; readonly context: number };
  }
  | {
    readonly class: "unavailable";
    readonly message: string;
    readonly reason: UnavailableReason;
    readonly retryAfter: number;
    readonly field?: string;
  }
  | { readonly class: "other"; readonly name: string; readonly message: string; readonly stack?: string };

export function toErrorRecord(error: unknown): ErrorRecord {
  if (error instanceof InvalidRequestError) {
    const { message, field, reason, tokens } = error;
    return { class: "invalid_request", message, field, reason, ...(tokens && { tokens }) };
  }
  if (error instanceof EngineUnavailableError) {
    const { message, reason, retryAfter, field } = error;
    return { class: "unavailable", message, reason, retryAfter, ...(field !== undefined && { field }) };
  }
  if (!(error instanceof Error)) return { class: "other", name: "Error", message: String(error) };
  const { name, message, stack } = error;
  return { class: "other", name, message, ...(stack !== undefined && { stack }) };
}

export function fromErrorRecord(record: ErrorRecord): Error {
  switch (record.class) {
    case "invalid_request":
      return new InvalidRequestError(record.message, record);
    case "unavailable":
      return new EngineUnavailableError(record.message, record.reason, record.retryAfter, record.field);
    case "other": {
      const error = new Error(record.message);
      error.name = record.name;
      if (record.stack !== undefined) error.stack = record.stack;
      return error;
    }
  }
}
