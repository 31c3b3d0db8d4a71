// Rules that say how far a completion may reach: to the end of the line, or of the block by its indentation. They go
// by characters, so that they end a text at the same one however it comes in pieces.
import type { OutputStage } from "./output_stage.ts";

/** Ends at the first line break, which goes with what follows. */
export class LineScope implements OutputStage {
  readonly rule = "scope";
  ended = false;
  /** A CR that may belong to the line break. */
  #held = "";

  get acted(): boolean {
    return this.ended;
  }

  push(piece: string): string {
    if (this.ended) return "";
    const text = this.#held + piece;
    this.#held = "";
    const found = /\r?\n/.exec(text);
    if (found) {
      this.ended = true;
      return text.slice(0, found.index);
    }
    if (!text.endsWith("\r")) return text;
    this.#held = "\r";
    return text.slice(0, -1);
  }

  flush(): string {
    const text = this.#held;
    this.#held = "";
    return text;
  }
}

/**
 * Ends before the first line with text in it that is indented less than the line at the cursor. Empty lines count as
 * part of the block when more of it follows, and go with what ends it. A tab counts as a blank, as in llama.cpp.
 */
export class BlockScope implements OutputStage {
  readonly rule = "scope";
  ended = false;
  /** Blanks before the text of the line at the cursor; a line without text gets more of them from the completion. */
  #least: number;
  /** Where in its line the text stands. */
  #at: "first indent" | "indent" | "text";
  #indent = 0;
  /** Line breaks and blanks that go when the next text is indented less. */
  #held = "";

  /** @param lineStart what stands before the cursor in its line */
  constructor(lineStart: string) {
    this.#least = /^[ \t]*/.exec(lineStart)![0].length;
    this.#at = this.#least < lineStart.length ? "text" : "first indent";
  }

  get acted(): boolean {
    return this.ended;
  }

  push(piece: string): string {
    let text = "";
    for (const unit of piece) {
      if (this.ended) break;
      text += this.#take(unit);
    }
    return text;
  }

  flush(): string {
    const text = this.ended ? "" : this.#held;
    this.#held = "";
    return text;
  }

  #take(unit: string): string {
    if (unit === "\n") {
      this.#at = "indent";
      this.#indent = 0;
      return this.#hold(unit);
    }
    if (unit === "\r") return this.#hold(unit);
    const blank = unit === " " || unit === "\t";
    if (this.#at === "indent" && blank) {
      this.#indent++;
      return this.#hold(unit);
    }
    if (this.#at === "first indent" && blank) this.#least++;
    if (this.#at === "indent" && this.#indent < this.#least) {
      this.ended = true;
      return "";
    }
    if (!blank) this.#at = "text";
    const text = this.#held + unit;
    this.#held = "";
    return text;
  }

  #hold(unit: string): string {
    this.#held += unit;
    return "";
  }
}

/**
 * llama.cpp's `n_indent`: of every line after the first at least `least` blanks or tabs must come before its text, or
 * its end. The line that has fewer keeps those and loses the rest (`process_token` of its server).
 */
export class LeastIndent implements OutputStage {
  readonly rule = "n_indent";
  ended = false;
  readonly #least: number;
  /** Blanks so far in a line's indent; undefined within its text, and all through the first line. */
  #indent: number | undefined;

  constructor(least: number) {
    this.#least = least;
  }

  get acted(): boolean {
    return this.ended;
  }

  push(piece: string): string {
    for (let i = 0; i < piece.length && !this.ended; i++) {
      if (this.#tooShallowAt(piece[i])) {
        this.ended = true;
        return piece.slice(0, i);
      }
      this.#advance(piece[i]);
    }
    return this.ended ? "" : piece;
  }

  flush(): string {
    return "";
  }

  #tooShallowAt(unit: string): boolean {
    return this.#indent !== undefined && unit !== " " && unit !== "\t" && this.#indent < this.#least;
  }

  #advance(unit: string) {
    if (unit === "\n") this.#indent = 0;
    else if (unit !== " " && unit !== "\t") this.#indent = undefined;
    else if (this.#indent !== undefined) this.#indent++;
  }
}
