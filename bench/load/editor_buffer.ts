// A text with a cursor, as an editor has it, and what an editor's plugin sends of it. Offsets are UTF-16's, as in the
// editors that this stands for; a cursor never stands within a surrogate pair.
import type { Job } from "./dialect.ts";

/** Lines before the cursor's line and after it. */
export interface Window {
  readonly linesBefore: number;
  readonly linesAfter: number;
}

interface State {
  readonly text: string;
  readonly cursor: number;
}

export class EditorBuffer {
  readonly #history: State[] = [];
  #state: State;

  constructor(text: string, cursor = 0) {
    this.#state = { text, cursor };
  }

  get text(): string {
    return this.#state.text;
  }

  get cursor(): number {
    return this.#state.cursor;
  }

  insert(typed: string): void {
    const { text, cursor } = this.#state;
    this.#change({
      text: text.slice(0, cursor) + typed + text.slice(cursor),
      cursor: cursor + typed.length,
    });
  }

  /** Deletes the character before the cursor, if there is one. */
  backspace(): void {
    const { text, cursor } = this.#state;
    const last = [...text.slice(Math.max(0, cursor - 2), cursor)].at(-1) ?? "";
    const start = cursor - last.length;
    this.#change({ text: text.slice(0, start) + text.slice(cursor), cursor: start });
  }

  /** Deletes the cursor's line with its line break; the cursor comes to stand at the start of the next. */
  deleteLine(): void {
    const { text, cursor } = this.#state;
    const start = startOfLine(text, cursor), end = text.indexOf("\n", cursor);
    this.#change({ text: text.slice(0, start) + (end < 0 ? "" : text.slice(end + 1)), cursor: start });
  }

  /** Opens an empty line above the cursor's, and goes there. */
  openLine(): void {
    const { text, cursor } = this.#state;
    const start = startOfLine(text, cursor);
    this.#change({ text: text.slice(0, start) + "\n" + text.slice(start), cursor: start });
  }

  /** To the start of a line, counted from 0; to the last where there are fewer. */
  jumpToLine(line: number): void {
    const { text } = this.#state;
    let cursor = 0;
    for (let i = 0; i < line && text.indexOf("\n", cursor) >= 0; i++) cursor = text.indexOf("\n", cursor) + 1;
    this.#state = { text, cursor };
  }

  /** Takes the last change back; nothing where there is none. */
  undo(): void {
    this.#state = this.#history.pop() ?? this.#state;
  }

  /** What llama.vim sends: whole lines before, the line up to the cursor, the rest of the line and lines after. */
  job({ linesBefore, linesAfter }: Window, maxTokens: number): Job {
    const { text, cursor } = this.#state;
    const lineStart = startOfLine(text, cursor);
    return {
      before: text.slice(0, lineStart).split("\n").slice(-linesBefore - 1).join("\n"),
      lineStart: text.slice(lineStart, cursor),
      after: text.slice(cursor).split("\n").slice(0, linesAfter + 1).join("\n"),
      maxTokens,
    };
  }

  #change(state: State): void {
    this.#history.push(this.#state);
    this.#state = state;
  }
}

/** `lastIndexOf` takes a negative position for 0. */
function startOfLine(text: string, cursor: number): number {
  return cursor === 0 ? 0 : text.lastIndexOf("\n", cursor - 1) + 1;
}
