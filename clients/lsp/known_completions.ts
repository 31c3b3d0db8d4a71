// Completions that the server gave, for as long as somebody may still type them: what is left of one answers at once,
// after a key that matches it, after a step back and the same keys again, and after it was half accepted. Pure.
import type { Cursor } from "./cursor.ts";

export interface Completion {
  /** Unique; what events name. */
  readonly id: string;
  readonly text: string;
}

/** What is left of a completion at a cursor. */
export interface Rest {
  readonly completion: Completion;
  readonly text: string;
  /** Brackets and quotes right of the cursor that the editor closed by itself, and the text closes again. */
  readonly replaces: string;
  readonly refused: boolean;
}

interface Entry {
  readonly completion: Completion;
  readonly uri: string;
  readonly before: string;
  readonly after: string;
  refused: boolean;
}

/** As many as llama.vim keeps. */
const MAX_ENTRIES = 250;
/** How much of the text around the cursor must be the same, UTF-16 units. */
const COMPARED_BEFORE = 4_096;
const COMPARED_AFTER = 1_024;
const CLOSED_BY_EDITOR = /^[)\]}"'`>]{1,3}/;

/** Those used least recently go first. */
export class KnownCompletions {
  /** The most recently used last. */
  #entries: Entry[] = [];

  add({ uri, before, after }: Cursor, completion: Completion): void {
    if (completion.text === "") return;
    this.#entries.push({
      completion,
      uri,
      before: before.slice(-COMPARED_BEFORE),
      after: after.slice(0, COMPARED_AFTER),
      refused: false,
    });
    if (this.#entries.length > MAX_ENTRIES) this.#entries.shift();
  }

  /** Goes before all others of its place. */
  prefer(id: string): void {
    const isPreferred = ({ completion }: Entry) => completion.id === id;
    this.#entries = [
      ...this.#entries.filter((entry) => !isPreferred(entry)),
      ...this.#entries.filter(isPreferred),
    ];
  }

  /** What the completion given last for this place, or for an earlier one from which it was typed, has left. */
  find(cursor: Cursor): Rest | undefined {
    for (const entry of this.#entries.toReversed()) {
      const rest = restOf(entry, cursor);
      if (!rest) continue;
      this.prefer(entry.completion.id);
      return rest;
    }
  }

  /** All that are left at this place, without two of the same text, the most recently used first. */
  findAll(cursor: Cursor): Rest[] {
    const rests = this.#entries.toReversed().flatMap((entry) => restOf(entry, cursor) ?? []);
    return rests.filter(({ text }, i) => rests.findIndex((other) => other.text === text) === i);
  }

  /** It is not to be shown again until it is asked for. */
  refuse(id: string): void {
    for (const entry of this.#entries) if (entry.completion.id === id) entry.refused = true;
  }
}

function restOf(entry: Entry, { uri, before, after }: Cursor): Rest | undefined {
  if (entry.uri !== uri) return undefined;
  const replaces = closedSince(entry, after);
  if (replaces === undefined) return undefined;
  const { text } = entry.completion;
  for (let typed = 0; typed < text.length; typed++) {
    if (!isTyped(entry, before, typed)) continue;
    const left = text.slice(typed);
    if (replaces !== "" && !left.includes(replaces)) return undefined;
    return { completion: entry.completion, text: left, replaces, refused: entry.refused };
  }
}

/** Whether what stands before the cursor is the text that was before the completion, and so much of it. */
function isTyped(entry: Entry, before: string, typed: number): boolean {
  const start = before.length - typed;
  if (start < 0 || !before.endsWith(entry.completion.text.slice(0, typed))) return false;
  // What was compared was cut, or was all that there was before.
  return before.endsWith(entry.before, start) &&
    (entry.before.length === COMPARED_BEFORE || start === entry.before.length);
}

/** Undefined where the text after the cursor is another; else what the editor has closed there meanwhile. */
function closedSince({ after: known }: Entry, after: string): string | undefined {
  if (after.slice(0, COMPARED_AFTER) === known) return "";
  const [closers] = CLOSED_BY_EDITOR.exec(after) ?? [""];
  for (let length = closers.length; length > 0; length--) {
    if (after.slice(length, length + COMPARED_AFTER) === known) return after.slice(0, length);
  }
}
