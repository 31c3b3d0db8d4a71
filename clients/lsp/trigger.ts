// Where a completion is asked for, and whether of one line or several. Pure.
import type { Cursor } from "./cursor.ts";
import type { Settings } from "./settings.ts";

/** As the server's field `scope`. */
export type Scope = "line" | "block" | "auto";

export interface Occasion {
  /** By hand, not by typing. */
  readonly invoked: boolean;
  /** An item of the editor's own list is selected. */
  readonly itemSelected: boolean;
  /** The last change took text away. */
  readonly deleted: boolean;
}

/** More than this to the right of the cursor, and one is not writing there but reading. As llama.vim. */
const MAX_RIGHT_OF_CURSOR = 8;
/** What editors close by themselves. */
const CLOSERS_ONLY = /^[\s)\]}>"'`;:,]*$/;
const WORD_AHEAD = /^[\p{L}\p{N}_$]/u;
const LINE_COMMENT = /^\s*(?:\/\/|#|--|;;|%|"""|\*)/;

/** The scope to ask for, or undefined where nothing is to be asked. */
export function scopeToAsk(cursor: Cursor, occasion: Occasion, settings: Settings): Scope | undefined {
  if (!occasion.invoked && !isWelcome(cursor, occasion, settings)) return undefined;
  if (settings.multiLine === "never" || occasion.itemSelected) return "line";
  if (settings.multiLine === "always") return "block";
  return LINE_COMMENT.test(cursor.lineStart) ? "line" : "auto";
}

/** Whether nothing is to be suggested unasked in a language. */
export function isOff({ enabled, disabledLanguages }: Settings, languageId: string): boolean {
  return !enabled || disabledLanguages.includes(languageId);
}

function isWelcome(
  { before, after, lineEnd, languageId }: Cursor,
  { deleted }: Occasion,
  settings: Settings,
) {
  return !isOff(settings, languageId) && !deleted &&
    (before + after).trim() !== "" &&
    !WORD_AHEAD.test(lineEnd) &&
    (CLOSERS_ONLY.test(lineEnd) || lineEnd.trim().length <= MAX_RIGHT_OF_CURSOR);
}
