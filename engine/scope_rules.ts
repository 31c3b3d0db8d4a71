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

/** Ends a line that opens a block, if what stands below it is indented deeper. */
const OPENERS = ":{([";
/** Begins a line that closes one. */
const CLOSERS = ")]}";

/**
 * Ends before the first line with text in it that is indented less than the line at the cursor; where that line opens a
 * block, before the first that is indented no deeper, unless it begins by closing it. Empty lines count as part of the
 * block when more of it follows, and go with what ends it. A tab counts as a blank, as in llama.cpp.
 */
export class BlockScope implements OutputStage {
  readonly rule = "scope";
  ended = false;
  /** Blanks before the text of the line at the cursor; a line without text gets more of them from the completion. */
  #least: number;
  /** The line at the cursor ends as one that opens a block does. */
  #opens: boolean;
  /** The block is the body below that line; undefined until the first line below it is known. */
  #inBody: boolean | undefined;
  /** Where in its line the text stands. */
  #at: "first indent" | "indent" | "text";
  #indent = 0;
  /** Line breaks and blanks that go when the next text is indented less. */
  #held = "";

  /** @param lineStart what stands before the cursor in its line */
  constructor(lineStart: string) {
    this.#least = /^[ \t]*/.exec(lineStart)![0].length;
    this.#at = this.#least < lineStart.length ? "text" : "first indent";
    this.#opens = isOneOf(OPENERS, lineStart.trimEnd().at(-1));
    // A line without text before the cursor stands in a block already.
    this.#inBody = this.#at === "text" ? undefined : false;
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
    if (this.#at === "indent") {
      this.#inBody ??= this.#opens && this.#indent > this.#least;
      if (this.#isOutside(unit)) {
        this.ended = true;
        return "";
      }
    }
    if (!blank) {
      this.#at = "text";
      if (this.#inBody === undefined) this.#opens = isOneOf(OPENERS, unit);
    }
    const text = this.#held + unit;
    this.#held = "";
    return text;
  }

  /** Of a line below the cursor's, by the first unit of its text. */
  #isOutside(unit: string): boolean {
    const least = this.#inBody && !isOneOf(CLOSERS, unit) ? this.#least + 1 : this.#least;
    return this.#indent < least;
  }

  #hold(unit: string): string {
    this.#held += unit;
    return "";
  }
}

function isOneOf(units: string, unit: string | undefined): boolean {
  return unit !== undefined && units.includes(unit);
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
