// One request of a load: sent, read as a stream, timed. Never throws for what the server or the network does: whatever
// happened is the outcome.
import type { Dialect, Job } from "./dialect.ts";
import { sseEvents } from "./sse_parser.ts";

export type OutcomeKind =
  | "complete"
  /** Cut off by this side. */
  | "aborted"
  /** 4xx or 503: the server would not. */
  | "refused"
  /** 5xx, a broken connection, an error within the stream. */
  | "failed";

export interface Outcome {
  readonly kind: OutcomeKind;
  readonly status: number | undefined;
  /** On the clock of `performance.now()`. */
  readonly sentAt: number;
  /** Milliseconds to the first text, or to the end of an answer without any. */
  readonly firstMs: number | undefined;
  readonly totalMs: number;
  /** Milliseconds between one piece of text and the next; servers send one token a piece, mostly. */
  readonly gapsMs: readonly number[];
  readonly text: string;
  readonly promptTokens: number | undefined;
  readonly cachedTokens: number | undefined;
  /** Of what failed or was refused. */
  readonly reason: string | undefined;
}

export interface Endpoint {
  /** Without a slash at its end. */
  readonly url: string;
  readonly dialect: Dialect;
  readonly headers: Readonly<Record<string, string>>;
}

export interface CompleteOptions {
  readonly signal: AbortSignal;
  /** Told of each piece of text, with all text so far. */
  readonly onText?: (text: string) => void;
  readonly headers?: Readonly<Record<string, string>>;
}

/** A reply is read no further than this: no completion of a load test is longer. */
const MAX_PIECES = 10_000;

export async function complete(endpoint: Endpoint, job: Job, options: CompleteOptions): Promise<Outcome> {
  const { url, dialect, headers } = endpoint;
  const record = new OutcomeRecord();
  try {
    const response = await fetch(url + dialect.path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers, ...options.headers },
      body: JSON.stringify(dialect.body(job, true)),
      signal: options.signal,
    });
    record.status = response.status;
    if (!response.ok) return record.refused(await response.text());
    let numPieces = 0;
    for await (const data of sseEvents(response.body!)) {
      if (data === "[DONE]" || ++numPieces > MAX_PIECES) break;
      const piece = dialect.piece(JSON.parse(data));
      record.add(piece);
      if (piece.text !== "") options.onText?.(record.text);
    }
    return record.end(record.done ? "complete" : "failed", record.done ? undefined : "the stream broke off");
  } catch (error) {
    if (options.signal.aborted) return record.end("aborted");
    return record.end("failed", error instanceof Error ? error.message : String(error));
  }
}

/** What is known of a request while it runs. */
class OutcomeRecord {
  readonly #sentAt = performance.now();
  readonly #gapsMs: number[] = [];
  #firstMs: number | undefined;
  #lastTextAt = 0;
  #counts: Pick<Outcome, "promptTokens" | "cachedTokens"> = {
    promptTokens: undefined,
    cachedTokens: undefined,
  };
  status: number | undefined;
  text = "";
  done = false;

  add({ text, done, promptTokens, cachedTokens }: ReturnType<Dialect["piece"]>): void {
    const now = performance.now();
    if (text !== "" && this.text !== "") this.#gapsMs.push(now - this.#lastTextAt);
    if (text !== "") this.#lastTextAt = now;
    if (text !== "" || done) this.#firstMs ??= now - this.#sentAt;
    this.text += text;
    this.done ||= done;
    if (promptTokens !== undefined) this.#counts = { promptTokens, cachedTokens };
  }

  refused(body: string): Outcome {
    const kind = this.status! < 500 || this.status === 503 ? "refused" : "failed";
    return this.end(kind, `${this.status}: ${body.slice(0, 200)}`);
  }

  end(kind: OutcomeKind, reason?: string): Outcome {
    return {
      kind,
      status: this.status,
      sentAt: this.#sentAt,
      firstMs: this.#firstMs,
      totalMs: performance.now() - this.#sentAt,
      gapsMs: this.#gapsMs,
      text: this.text,
      ...this.#counts,
      reason,
    };
  }
}
