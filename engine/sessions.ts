// Newest wins: which requests in flight a newer one of the same editor makes pointless. Pure; knows requests only by
// what they ask for, and ends none of them.
import { type Priority, supersedes } from "./priority.ts";
import type { GenerationRequest, Prompt } from "./request.ts";

/** Characters that two prefixes must share, from their start, before one is taken for the other's next state. */
const MIN_SHARED_CHARACTERS = 32;
/** Characters that a person types or deletes between two requests, at most. */
const MAX_TYPED_CHARACTERS = 256;

/** The requests in flight that take part, the oldest first, each with whatever the caller knows it by. */
export class Sessions<Handle> {
  readonly #inFlight = new Map<Handle, GenerationRequest>();

  /** A request that takes no part is not kept: it is superseded by none. */
  add(handle: Handle, request: GenerationRequest) {
    if (takesPart(request)) this.#inFlight.set(handle, request);
  }

  delete(handle: Handle) {
    this.#inFlight.delete(handle);
  }

  /** Those that the newer request makes pointless. */
  supersededBy(newer: GenerationRequest): Handle[] {
    if (!takesPart(newer)) return [];
    return [...this.#inFlight].filter(([, older]) => isOutdated(older, newer)).map(([handle]) => handle);
  }
}

/** Batch work has no newest; scores are wanted of the prompt as it was sent; without a requester nothing is known. */
function takesPart(request: GenerationRequest): boolean {
  const scores = request.echoPrompt === true && request.logprobs !== undefined;
  return request.requester !== undefined && priorityOf(request) !== "batch" && !scores;
}

/**
 * With a session's name the name decides, within one API key. Without one, both must come from the same key and client
 * and be states of the same text: the same suffix and other files, and of the prefixes one the beginning of the
 * other. Equal prompts are nobody's progress: two people may have sent them.
 */
function isOutdated(older: GenerationRequest, newer: GenerationRequest): boolean {
  const [a, b] = [older.requester!, newer.requester!];
  if (a.key !== b.key || a.session !== b.session) return false;
  if (!supersedes(priorityOf(newer), priorityOf(older))) return false;
  if (b.session !== undefined) return true;
  return b.client !== undefined && a.client === b.client && isNextState(older.prompt, newer.prompt);
}

function isNextState(a: Prompt, b: Prompt): boolean {
  if (a.kind !== "infill" || b.kind !== "infill") return false;
  if (a.suffix !== b.suffix || a.filename !== b.filename) return false;
  if (JSON.stringify(a.extra ?? []) !== JSON.stringify(b.extra ?? [])) return false;
  const [short, long] = [textBefore(a), textBefore(b)].sort((x, y) => x.length - y.length);
  const typed = long.length - short.length;
  if (typed === 0 || typed > MAX_TYPED_CHARACTERS || short.length < MIN_SHARED_CHARACTERS) return false;
  return long.startsWith(short);
}

function textBefore({ prefix, lineStart = "" }: Extract<Prompt, { kind: "infill" }>): string {
  return prefix + lineStart;
}

function priorityOf({ priority = "live" }: GenerationRequest): Priority {
  return priority;
}
