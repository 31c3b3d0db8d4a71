// One HTTP request and its reply as they are accounted for: who asked, what the engine did for it, when it was over.
// Everything that counts, logs, limits or traces requests watches exchanges; nobody else needs to know of them.
import type { MiddlewareHandler } from "hono";
import { InvalidRequestError } from "../engine/errors.ts";
import type { FinishReason, GenerationEvent, GenerationTimings } from "../engine/request.ts";

declare module "hono" {
  interface ContextVariableMap {
    exchange: Exchange;
  }
}

/**
 * finished: every sample ended. cancelled: the client left, or another prompt of the same request failed. refused: the
 * engine did not take it, or found the request at fault later (its grammar). failed: the engine took it and broke down.
 */
export type Outcome = "finished" | "cancelled" | "refused" | "failed";

/** Asked by POST, and only looks or tells: costs nothing, and is neither limited nor refused. */
const LOOKS: ReadonlySet<string> = new Set(["/v1/health", "/v1/events", "/api/show"]);

/** One generation of an exchange, once it is over. */
export interface GenerationRecord {
  readonly outcome: Outcome;
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** How each sample ended that did. */
  readonly reasons: readonly FinishReason[];
  /** The engine's, of the sample that ended last. */
  readonly timings?: GenerationTimings;
  /** From the hand-over to the engine until the first token was back, milliseconds. */
  readonly firstTokenMs?: number;
  /** From the hand-over to the engine to the end. */
  readonly totalMs: number;
}

export interface ExchangeWatcher {
  started?(exchange: Exchange): void;
  /** `intervalMs`: for a token that is not its sample's first, since the one before. */
  event?(exchange: Exchange, event: GenerationEvent, intervalMs?: number): void;
  generated?(exchange: Exchange, record: GenerationRecord): void;
  /** The reply is known and no generation runs any more. Comes exactly once. */
  ended?(exchange: Exchange): void;
}

export interface ExchangeOptions {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  /** The caller's trace, as the W3C's header has it. */
  readonly traceparent?: string | undefined;
  readonly watchers: readonly ExchangeWatcher[];
  /** Milliseconds on a clock that never goes back. */
  readonly now: () => number;
}

export class Exchange {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly traceparent: string | undefined;
  readonly startedAt: number;
  readonly generations: GenerationRecord[] = [];
  /** Name of the model that it was given to; undefined before. */
  model: string | undefined;
  /** Name of the API key that it showed. */
  keyName: string | undefined;
  /** HTTP status, once the head of the reply is known. */
  status: number | undefined;
  readonly #watchers: readonly ExchangeWatcher[];
  readonly #now: () => number;
  #generating = 0;

  constructor({ id, method, path, traceparent, watchers, now }: ExchangeOptions) {
    this.id = id;
    this.method = method;
    this.path = path;
    this.traceparent = traceparent;
    this.#watchers = watchers;
    this.#now = now;
    this.startedAt = now();
    for (const watcher of watchers) watcher.started?.(this);
  }

  /** Asks for completions, or something else that costs; what only looks is a GET, but for a few. */
  get isWork(): boolean {
    return this.method === "POST" && !LOOKS.has(this.path);
  }

  /** Milliseconds since it began. */
  get ageMs(): number {
    return this.#now() - this.startedAt;
  }

  /** Passes the events of one of its generations on, and keeps account of them. */
  async *watch(
    events: AsyncIterable<GenerationEvent>,
    signal: AbortSignal,
  ): AsyncGenerator<GenerationEvent, void, undefined> {
    const tally = new Tally(this.#now);
    this.#generating++;
    try {
      for await (const event of events) {
        const intervalMs = tally.add(event);
        for (const watcher of this.#watchers) watcher.event?.(this, event, intervalMs);
        yield event;
      }
      tally.outcome = "finished";
    } catch (error) {
      const refused = !tally.taken || error instanceof InvalidRequestError;
      tally.outcome = signal.aborted ? "cancelled" : refused ? "refused" : "failed";
      throw error;
    } finally {
      this.#generationEnded(tally.record());
    }
  }

  /** The handler has returned: plain replies are complete, streams may still run. */
  replied(status: number): void {
    this.status = status;
    this.#endIfOver();
  }

  #generationEnded(record: GenerationRecord): void {
    this.#generating--;
    this.generations.push(record);
    for (const watcher of this.#watchers) watcher.generated?.(this, record);
    this.#endIfOver();
  }

  #endIfOver(): void {
    if (this.status === undefined || this.#generating > 0) return;
    for (const watcher of this.#watchers) watcher.ended?.(this);
  }
}

/** Adds one generation's events up. */
class Tally {
  outcome: Outcome = "cancelled";
  readonly #now: () => number;
  readonly #startedAt: number;
  readonly #lastTokenAt = new Map<number, number>();
  readonly #reasons: FinishReason[] = [];
  #promptTokens = 0;
  #completionTokens = 0;
  #firstTokenMs: number | undefined;
  #timings: GenerationTimings | undefined;
  taken = false;

  constructor(now: () => number) {
    this.#now = now;
    this.#startedAt = now();
  }

  /** @returns milliseconds since the sample's token before this one, where there was one */
  add(event: GenerationEvent): number | undefined {
    this.taken = true;
    if (event.kind === "prompt") this.#promptTokens = event.tokenIds.length;
    if (event.kind === "finish") {
      this.#reasons.push(event.reason);
      this.#timings = event.timings;
    }
    return event.kind === "token" ? this.#addToken(event.sample) : undefined;
  }

  #addToken(sample: number): number | undefined {
    const now = this.#now();
    const before = this.#lastTokenAt.get(sample);
    this.#lastTokenAt.set(sample, now);
    this.#completionTokens++;
    this.#firstTokenMs ??= now - this.#startedAt;
    return before === undefined ? undefined : now - before;
  }

  record(): GenerationRecord {
    return {
      outcome: this.outcome,
      promptTokens: this.#promptTokens,
      completionTokens: this.#completionTokens,
      reasons: this.#reasons,
      ...(this.#timings && { timings: this.#timings }),
      ...(this.#firstTokenMs !== undefined && { firstTokenMs: this.#firstTokenMs }),
      totalMs: this.#now() - this.#startedAt,
    };
  }
}

/** Opens an exchange for every request; `requestId` must run before. */
export function watchExchanges(
  watchers: readonly ExchangeWatcher[],
  now: () => number,
): MiddlewareHandler {
  return async function watchExchanges(c, next) {
    const { method, path } = c.req;
    const traceparent = c.req.header("traceparent");
    const exchange = new Exchange({ id: c.get("requestId"), method, path, traceparent, watchers, now });
    c.set("exchange", exchange);
    try {
      await next();
    } finally {
      exchange.replied(c.res.status);
    }
  };
}
