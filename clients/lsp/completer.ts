// From a cursor to completions: from those that are known, or else from the server after a pause in typing. One request
// at a time asks the server; a newer one ends it. Knows no protocol of editors.
import { aborted, type Clock } from "./clock.ts";
import type { CompletionClient, InfillAnswer, InfillQuery } from "./completion_client.ts";
import type { ContextChunk } from "./context_chunk.ts";
import { type Cursor, windowAround } from "./cursor.ts";
import { KnownCompletions, type Rest } from "./known_completions.ts";
import type { Settings } from "./settings.ts";
import type { Scope } from "./trigger.ts";
import type { TypingRhythm } from "./typing_rhythm.ts";

export interface Wish {
  readonly cursor: Cursor;
  /** Undefined: only what is known is wanted. */
  readonly scope: Scope | undefined;
  readonly invoked: boolean;
  readonly settings: Settings;
  /** Pieces of other files to show beside the text around a cursor. */
  readonly chunksBeside: (text: string, uri: string) => readonly ContextChunk[];
  /** What the model is told that a document is called; undefined for one that is no file. */
  readonly filenameOf: (uri: string) => string | undefined;
}

/** A request to the server that nobody waits for any more goes on for so long: the next key may be the one it wrote. */
const GRACE_MS = 200;

export interface CompleterEvents {
  /** The server is asked, and has answered after so many milliseconds; undefined when it was stopped. */
  readonly asking: () => void;
  readonly answered: (ms: number | undefined) => void;
  /** What is asked ahead of time failed; nobody is told. */
  readonly failedAhead: (error: unknown) => void;
}

interface Asking {
  readonly controller: AbortController;
  readonly answer: Promise<unknown>;
}

export class Completer {
  readonly #client: CompletionClient;
  readonly #rhythm: TypingRhythm;
  readonly #clock: Clock;
  readonly #events: CompleterEvents;
  readonly known: KnownCompletions = new KnownCompletions();
  #asking: Asking | undefined;
  #ahead: AbortController | undefined;

  constructor(client: CompletionClient, rhythm: TypingRhythm, clock: Clock, events: CompleterEvents) {
    this.#client = client;
    this.#rhythm = rhythm;
    this.#clock = clock;
    this.#events = events;
  }

  /**
   * What may be inserted, the best first; nothing where there is nothing, or the signal says that nobody waits.
   * @throws {ServerProblem} the server refuses or cannot be reached
   */
  async complete(wish: Wish, signal: AbortSignal): Promise<Rest[]> {
    if (wish.invoked) return await this.#choices(wish, signal);
    const known = this.known.find(wish.cursor);
    if (known) return this.#shown(known);
    if (!wish.scope) return [];
    if (await this.#typedMeanwhile(wish, signal)) {
      const answered = this.known.find(wish.cursor);
      if (answered) return this.#shown(answered);
    }
    if (signal.aborted) return [];
    await this.#ask(wish, signal);
    const answer = signal.aborted ? undefined : this.known.find(wish.cursor);
    return answer ? this.#shown(answer) : [];
  }

  /** Asks for what follows once a completion is accepted, while somebody looks at it. */
  askAhead(wish: Wish, shown: Rest): void {
    if (!wish.settings.speculative || this.#ahead && !this.#ahead.signal.aborted) return;
    const accepted = after(wish.cursor, shown);
    if (this.known.find(accepted)) return;
    const controller = this.#ahead = new AbortController();
    const query = queryAt(accepted, "auto", wish);
    this.#client.infill({ ...query, priority: "speculative" }, controller.signal)
      .then((answer) => this.#learn(accepted, answer))
      .catch((error) => controller.signal.aborted || this.#events.failedAhead(error))
      .finally(() => controller.abort());
  }

  /** Has the server read what a request at the cursor would begin with. */
  async warmUp(wish: Wish, signal: AbortSignal): Promise<void> {
    await this.#client.infill({
      ...queryAt(wish.cursor, wish.scope, wish),
      maxTokens: 0,
      priority: "warm-up",
    }, signal);
  }

  #shown(rest: Rest): Rest[] {
    return rest.refused || rest.text.trim() === "" ? [] : [rest];
  }

  /** Waits for a pause. True as soon as the request that was under way has been answered. */
  async #typedMeanwhile({ cursor, settings }: Wish, signal: AbortSignal): Promise<boolean> {
    const { debounce } = settings;
    const delayMs = debounce === "adaptive" ? this.#rhythm.delayMs(cursor) : debounce;
    const pause = this.#clock.delay(delayMs, signal).then(() => false);
    const asking = this.#asking;
    if (!asking) return await pause;
    const answered = asking.answer.then(() => this.known.find(cursor) !== undefined, () => false);
    return await Promise.race([pause, answered.then((found) => found || pause)]);
  }

  async #choices(wish: Wish, signal: AbortSignal): Promise<Rest[]> {
    const { cursor, settings } = wish;
    const [drawn] = await Promise.all([
      this.#draw(wish, settings.alternatives - 1, signal),
      this.known.find(cursor) ? undefined : this.#ask(wish, signal),
    ]);
    const likeliest = this.known.find(cursor);
    if (drawn) this.#learn(cursor, drawn);
    if (likeliest) this.known.prefer(likeliest.completion.id);
    const choices = this.known.findAll(cursor).filter(({ text }) => text.trim() !== "");
    return choices.slice(0, settings.alternatives);
  }

  async #draw(wish: Wish, draws: number, signal: AbortSignal): Promise<InfillAnswer | undefined> {
    if (draws < 1) return undefined;
    return await this.#client.infill({ ...queryAt(wish.cursor, wish.scope, wish), draws }, signal);
  }

  async #ask(wish: Wish, signal: AbortSignal): Promise<void> {
    this.#asking?.controller.abort();
    this.#ahead?.abort();
    const controller = new AbortController();
    const leave = () => void this.#clock.delay(GRACE_MS).then(() => controller.abort());
    signal.addEventListener("abort", leave, { once: true });
    const startMs = this.#clock.now();
    this.#events.asking();
    const answer = this.#client.infill(queryAt(wish.cursor, wish.scope, wish), controller.signal)
      .then((answer) => this.#learn(wish.cursor, answer));
    const asking = this.#asking = { controller, answer };
    let tookMs: number | undefined;
    try {
      await Promise.race([answer, aborted(signal)]);
      if (!signal.aborted) tookMs = this.#clock.now() - startMs;
    } catch (error) {
      if (!controller.signal.aborted) throw error;
    } finally {
      signal.removeEventListener("abort", leave);
      answer.catch(() => {}).finally(() => {
        if (this.#asking === asking) this.#asking = undefined;
      });
      if (tookMs !== undefined) this.#rhythm.answered(tookMs);
      this.#events.answered(tookMs);
    }
  }

  #learn(cursor: Cursor, answer: InfillAnswer): void {
    for (const completion of completionsOf(answer)) this.known.add(cursor, completion);
  }
}

function queryAt(
  cursor: Cursor,
  scope: Scope = "auto",
  { settings: { maxTokens, maxPredictMs }, chunksBeside, filenameOf }: Wish,
): InfillQuery {
  const window = windowAround(cursor);
  return {
    window,
    scope,
    maxTokens,
    maxPredictMs,
    chunks: chunksBeside(window.prefix + window.suffix, cursor.uri),
    filename: filenameOf(cursor.uri),
  };
}

function completionsOf({ id, texts }: InfillAnswer) {
  return texts.map((text, i) => ({ id: i === 0 ? id : `${id}-${i}`, text }));
}

/** The cursor as it is once a completion is accepted. */
function after(cursor: Cursor, { text, replaces }: Rest): Cursor {
  const before = cursor.before + text, lines = text.split("\n");
  return {
    ...cursor,
    before,
    after: cursor.after.slice(replaces.length),
    lineStart: before.slice(before.lastIndexOf("\n") + 1),
    lineEnd: cursor.lineEnd.slice(replaces.length),
    line: cursor.line + lines.length - 1,
  };
}
