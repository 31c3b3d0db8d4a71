// When to ask for a suggestion, and what to do with the answer: with every key or after a pause, one request at a time,
// cancelled when it is outdated, kept while what was typed is what it says, not asked again for what was seen before.
import type { EditorView, ViewUpdate } from "@codemirror/view";
import type { Connection } from "./connection.ts";
import { streamContinuation } from "./continuation.ts";
import { cursorContext } from "./editor.ts";
import { ghostOf, showGhost } from "./ghost_text.ts";
import type { CursorContext } from "./cursor_context.ts";
import { type InfillEnd, type InfillPart, streamInfill } from "./infill.ts";
import { RecentSuggestions } from "./recent_suggestions.ts";
import type { RequestRecord } from "./request_record.ts";
import { ServerError } from "./server_error.ts";
import { scoreTokens } from "./token_scores.ts";
import { TypingPace } from "./typing_pace.ts";

const MAX_TOKENS = 96;
/** llama.cpp's type of error for a model without fill-in-the-middle tokens. */
const CANNOT_INFILL = "not_supported_error";
/** Scores are asked for when typing has paused this long. */
const SCORES_AFTER_MS = 250;

export interface SuggesterOptions {
  readonly connection: Connection;
  /** Whether to suggest without being asked. */
  readonly automatic: () => boolean;
  /** Told of every record as it begins, and whenever it changes. */
  readonly onRecord: (record: RequestRecord) => void;
}

interface Running {
  readonly record: RequestRecord;
  readonly controller: AbortController;
}

export class Suggester {
  readonly #options: SuggesterOptions;
  readonly #pace = new TypingPace();
  readonly #recent = new RecentSuggestions();
  #view: EditorView | undefined;
  /** Until the server says that its model knows no text after the cursor. */
  #infills = true;
  #timer: number | undefined;
  #running: Running | undefined;
  #scoring: AbortController | undefined;
  /** Where the user wanted none. */
  #dismissed: CursorContext | undefined;

  constructor(options: SuggesterOptions) {
    this.#options = options;
  }

  /** The editor has changed. */
  updated({ view, state, startState, docChanged, transactions }: ViewUpdate): void {
    this.#view = view;
    if (!docChanged) {
      // The cursor went elsewhere, and the editor has taken the suggestion away.
      if (!startState.selection.eq(state.selection)) this.#stop();
      return;
    }
    if (transactions.some((transaction) => transaction.isUserEvent("open"))) return this.#reset();
    this.#pace.key(performance.now());
    this.#typed();
  }

  #reset(): void {
    this.#stop();
    this.#recent.clear();
    this.#dismissed = undefined;
    this.suggest();
  }

  #typed(): void {
    const { state } = this.#view!, context = cursorContext(state);
    if (this.#running && context && fits(this.#running.record, context)) return;
    if (!this.#running && ghostOf(state) !== undefined) return this.#tellTyped(context);
    this.#stop();
    const { head } = state.selection.main, { from, to } = state.doc.lineAt(head);
    this.#schedule(this.#pace.delayMs(state.sliceDoc(from, head), state.sliceDoc(head, to)));
  }

  /** A key that needed no request. */
  #tellTyped(context: CursorContext | undefined): void {
    if (!context) return;
    const text = ghostOf(this.#view!.state)!;
    this.#options.onRecord({ context, askedAt: performance.now(), source: "typed", outcome: "shown", text });
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#askUnlessUnwanted(), delayMs);
  }

  #askUnlessUnwanted(): void {
    const { state, composing } = this.#view!, context = cursorContext(state);
    if (!this.#options.automatic() || !context || composing || !isPlaceForSuggestion(context)) return;
    if (this.#dismissed && equal(this.#dismissed, context)) return;
    this.#ask(context);
  }

  /** Suggests at the cursor, if the user wants suggestions there. */
  suggest(): void {
    this.#schedule(0);
  }

  /** The user asks, wherever the cursor is. */
  askNow(): void {
    const context = this.#view && cursorContext(this.#view.state);
    if (!context) return;
    this.#stop();
    this.#dismissed = undefined;
    this.#ask(context);
  }

  /** The user wants no suggestion here. */
  dismissed(): void {
    this.#dismissed = this.#view && cursorContext(this.#view.state);
    this.#stop();
  }

  /** Nothing that was asked for is of use any more. */
  #stop(): void {
    clearTimeout(this.#timer);
    this.#scoring?.abort();
    const running = this.#running;
    this.#running = undefined;
    if (!running) return;
    running.controller.abort();
    if (running.record.outcome !== "running") return;
    running.record.outcome = "cancelled";
    if (running.record.firstTextMs === undefined) {
      this.#pace.unanswered(performance.now() - running.record.askedAt);
    }
    this.#options.onRecord(running.record);
  }

  #ask(context: CursorContext): void {
    const askedAt = performance.now(), known = this.#recent.find(context);
    if (known !== undefined) {
      showGhost(this.#view!, known);
      return this.#options.onRecord({ context, askedAt, source: "recalled", outcome: "shown", text: known });
    }
    const record: RequestRecord = { context, askedAt, source: "model", outcome: "running", text: "" };
    const running = { record, controller: new AbortController() };
    this.#running = running;
    this.#options.onRecord(record);
    this.#follow(running);
  }

  async #follow(running: Running): Promise<void> {
    const { record, controller } = running, { onRecord } = this.#options;
    const elapsed = () => performance.now() - record.askedAt;
    try {
      for await (const part of this.#complete(record.context, controller.signal)) {
        if (this.#running !== running) return;
        if (part.stop) record.end = part;
        else if (part.content !== "") {
          if (record.firstTextMs === undefined) this.#pace.answered(record.firstTextMs = elapsed());
          record.text += part.content;
          this.#show(running);
        }
      }
      if (this.#running !== running) return;
      record.totalMs = elapsed();
      this.#finished(running);
    } catch (error) {
      if (this.#running !== running) return;
      this.#running = undefined;
      record.outcome = "failed";
      record.error = error instanceof ServerError ? error.message : "The server does not answer";
      onRecord(record);
    }
  }

  async *#complete(context: CursorContext, signal: AbortSignal): AsyncGenerator<InfillPart | InfillEnd> {
    const { connection } = this.#options;
    if (this.#infills) {
      try {
        return yield* streamInfill(connection, context, { maxTokens: MAX_TOKENS }, signal);
      } catch (error) {
        if (!(error instanceof ServerError) || error.type !== CANNOT_INFILL) throw error;
        this.#infills = false;
      }
    }
    yield* streamContinuation(connection, context, MAX_TOKENS, signal);
  }

  /** What of the text is not typed yet; a text that was typed otherwise is given up. */
  #show(running: Running): void {
    const { record } = running, context = cursorContext(this.#view!.state);
    const typed = context && typedSince(record.context, context);
    if (typed === undefined || !agree(record.text, typed)) {
      this.#stop();
      return this.#schedule(0);
    }
    showGhost(this.#view!, record.text.slice(typed.length));
    this.#options.onRecord(record);
  }

  #finished({ record }: Running): void {
    this.#running = undefined;
    const { end, text, context } = record;
    if (end?.cached_completion) record.source = "remembered";
    record.outcome = end?.superseded ? "superseded" : text === "" ? "empty" : "shown";
    if (record.outcome === "shown") this.#recent.add(context, text);
    this.#options.onRecord(record);
    const now = cursorContext(this.#view!.state);
    if (record.outcome !== "shown" || !now) return;
    // All of it was typed, or taken, while it came: on to the next.
    if (!equal(context, now) && ghostOf(this.#view!.state) === undefined) return this.#schedule(0);
    if (this.#infills) this.#scoreLater(record);
  }

  #scoreLater(record: RequestRecord): void {
    this.#scoring?.abort();
    const scoring = this.#scoring = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const scores = await scoreTokens(this.#options.connection, record, scoring.signal);
        if (!scores || scoring.signal.aborted) return;
        record.scores = scores;
        this.#options.onRecord(record);
      } catch {
        // Cancelled, or refused: the suggestion stands without them.
      }
    }, SCORES_AFTER_MS);
    scoring.signal.addEventListener("abort", () => clearTimeout(timer));
  }
}

/** Whether what was typed since a request is what it has said so far. Of one that has said nothing, nobody knows. */
function fits({ context, text }: RequestRecord, now: CursorContext): boolean {
  const typed = typedSince(context, now);
  return typed !== undefined && text !== "" && agree(text, typed);
}

function agree(text: string, typed: string): boolean {
  return text.startsWith(typed) || typed.startsWith(text);
}

/** What stands before the cursor beyond a context; undefined where anything else has changed. */
function typedSince(before: CursorContext, now: CursorContext): string | undefined {
  if (before.suffix !== now.suffix || !now.prefix.startsWith(before.prefix)) return undefined;
  return now.prefix.slice(before.prefix.length);
}

function equal(a: CursorContext, b: CursorContext): boolean {
  return a.prefix === b.prefix && a.suffix === b.suffix;
}

/** Not within a word, and not in an empty file. */
function isPlaceForSuggestion({ prefix, suffix }: CursorContext): boolean {
  return !/^[\p{L}\p{N}_]/u.test(suffix) && (prefix + suffix).trim() !== "";
}
