// What became of a suggestion: one record for every time that one was wanted, as the panel shows it. Plain data.
import type { CursorContext } from "./cursor_context.ts";
import type { InfillEnd, TokenProbability } from "./infill.ts";

/**
 * model: the server computed it. remembered: the server had an earlier completion of which this is the rest. recalled:
 * this page had. typed: no request, what was shown was typed.
 */
export type Source = "model" | "remembered" | "recalled" | "typed";

export type Outcome = "running" | "shown" | "empty" | "cancelled" | "superseded" | "failed";

export interface RequestRecord {
  readonly context: CursorContext;
  /** Milliseconds since the page was opened. */
  readonly askedAt: number;
  source: Source;
  outcome: Outcome;
  text: string;
  /** Milliseconds from the request to its first text, and to its end. */
  firstTextMs?: number;
  totalMs?: number;
  end?: InfillEnd;
  error?: string;
  scores?: TokenScores;
}

/** What the model thought of the tokens of a suggestion. */
export interface TokenScores {
  readonly tokens: readonly TokenProbability[];
  /** They begin after the word at the cursor, which is too unlikely for the server to tell. */
  readonly afterWord: boolean;
}
