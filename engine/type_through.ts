// Completions that were given, kept for people who type them: while what is typed is what was shown, the rest of it is
// the answer, and the model is not asked. Pure: no clock, and the memory it takes is bounded.
import { readInfill } from "./code_around.ts";
import type { EncodedPrompt } from "./generation.ts";
import type { GenerationEvent, GenerationRequest, Prompt } from "./request.ts";

type TokenEvent = Extract<GenerationEvent, { kind: "token" }>;
type FinishEvent = Extract<GenerationEvent, { kind: "finish" }>;

/** A completion as its reader got it, or what is left of one. */
export interface GivenCompletion {
  readonly tokens: readonly TokenEvent[];
  readonly finish: FinishEvent;
}

/** A request cut into the text before the cursor and all else. */
interface TypedRequest {
  /** All that must be the same. */
  readonly key: string;
  /** The text before the cursor. */
  readonly before: string;
  /** It may draw differently every time. */
  readonly drawn: boolean;
}

interface Entry extends GivenCompletion, TypedRequest {
  /** The completion's. */
  readonly text: string;
  /** Characters of it that were typed at the latest request that it answered. */
  answered: number;
}

export interface TypeThroughLimits {
  readonly maxEntries?: number;
  /** UTF-16 units of all texts and keys, of two bytes at most. */
  readonly maxUnits?: number;
}

/** Least recently used completions go first. */
export class TypeThrough {
  /** The most recently used last. */
  readonly #entries = new Set<Entry>();
  readonly #maxEntries: number;
  readonly #maxUnits: number;
  #units = 0;

  constructor({ maxEntries = 512, maxUnits = 2 ** 23 }: TypeThroughLimits = {}) {
    this.#maxEntries = maxEntries;
    this.#maxUnits = maxUnits;
  }

  get size(): number {
    return this.#entries.size;
  }

  get units(): number {
    return this.#units;
  }

  /**
   * What to do with the completion once it is whole; undefined when the request is none whose completion could stand
   * for another's: it wants several, or wants its tokens as they were drawn.
   */
  recorder(request: GenerationRequest): ((given: GivenCompletion) => void) | undefined {
    const asked = typedRequest(request);
    return asked && ((given) => this.#add({ ...asked, ...given, text: textOf(given), answered: 0 }));
  }

  /**
   * What an earlier completion has left for this request: one of a request that differs from this in nothing but the
   * text before the cursor, and this one's text is that one's with the beginning of the completion after it. Of several
   * the one used last. Undefined when there is none, or nothing is left of it: what comes next is for the model to say.
   */
  find(request: GenerationRequest): GivenCompletion | undefined {
    const asked = typedRequest(request);
    const entry = asked && [...this.#entries].findLast((entry) => isTyped(entry, asked));
    if (!entry) return undefined;
    this.#entries.delete(entry);
    this.#entries.add(entry);
    entry.answered = asked.before.length - entry.before.length;
    return restOf(entry, entry.answered);
  }

  #add(entry: Entry) {
    if (entry.text === "" || unitsOf(entry) > this.#maxUnits) return;
    for (const other of this.#entries) {
      if (other.key === entry.key && other.before === entry.before) this.#remove(other);
    }
    this.#entries.add(entry);
    this.#units += unitsOf(entry);
    for (const oldest of this.#entries) {
      if (this.#entries.size <= this.#maxEntries && this.#units <= this.#maxUnits) break;
      this.#remove(oldest);
    }
  }

  #remove(entry: Entry) {
    this.#entries.delete(entry);
    this.#units -= unitsOf(entry);
  }
}

/** The events that answer a request with what is left of a completion; `promptText` where the request wants it. */
export function* answerEvents(
  { ids, layout, truncated }: EncodedPrompt,
  { tokens, finish: { drafts: _, ...finish } }: GivenCompletion,
  promptText?: string,
): Generator<GenerationEvent> {
  const text = promptText === undefined ? {} : { text: promptText };
  yield { kind: "prompt", tokenIds: ids, ...(layout && { layout }), truncated, ...text };
  yield* tokens;
  yield {
    ...finish,
    completionTokens: tokens.length,
    cachedTokens: ids.length,
    cachedCompletion: true,
    timings: { queueMs: 0, promptMs: 0, predictedMs: 0 },
  };
}

/**
 * Undefined as in `recorder`. The rest of a completion that was drawn is distributed as a new one that begins like it,
 * so it may stand for one; but only once for each text (`isTyped`), for the editor that it was drawn for, and for
 * infilling: whoever samples left to right by hand means every draw.
 */
function typedRequest(request: GenerationRequest): TypedRequest | undefined {
  const { prompt, requester, requestId: _id, deadlines: _deadlines, priority: _priority, ...rest } = request;
  const { promptText: _text, ...settings } = rest;
  const { n = 1, temperature, seed, logprobs, echoPrompt, cachePrompt, maxTokens } = settings;
  const drawn = temperature !== 0 && seed === undefined;
  const plain = n === 1 && maxTokens !== 0 && logprobs === undefined && !echoPrompt && cachePrompt !== false;
  const parts = plain && cutAtCursor(prompt);
  if (!parts || drawn && prompt.kind !== "infill") return undefined;
  const asker = drawn ? [requester?.key, requester?.session, requester?.client] : [requester?.key];
  return { before: parts.before, key: JSON.stringify([asker, settings, parts.rest]), drawn };
}

function cutAtCursor(prompt: Prompt): { before: string; rest: object } | undefined {
  switch (prompt.kind) {
    case "infill": {
      const { prefix, lineStart = "", ...rest } = prompt;
      return { before: prefix + lineStart, rest };
    }
    case "text": {
      const { text, ...rest } = prompt;
      if (!prompt.parseSpecial) return { before: text, rest };
      const { before, frame } = readInfill(text);
      return { before, rest: { ...rest, frame } };
    }
    case "tokens":
      return undefined;
  }
}

function isTyped(entry: Entry, { key, before }: TypedRequest): boolean {
  const typed = before.length - entry.before.length;
  return typed > (entry.drawn ? entry.answered : 0) && typed < entry.text.length && entry.key === key &&
    before.startsWith(entry.before) && entry.text.startsWith(before.slice(entry.before.length));
}

/** The completion without its first `typed` units; of the tokens those go that brought nothing else. */
function restOf({ tokens, finish }: GivenCompletion, typed: number): GivenCompletion {
  let left = typed;
  const rest = tokens.flatMap((event) => {
    if (left === 0) return [event];
    const text = event.text.slice(left);
    left -= event.text.length - text.length;
    return text === "" ? [] : [{ ...event, text }];
  });
  return { tokens: rest, finish: { ...finish, text: finish.text.slice(left) } };
}

function textOf({ tokens, finish }: GivenCompletion): string {
  return tokens.map(({ text }) => text).join("") + finish.text;
}

/** The text is there twice, and an event takes as much as some text. */
function unitsOf({ key, before, text, tokens }: Entry): number {
  return key.length + before.length + 2 * text.length + 64 * (tokens.length + 1);
}
