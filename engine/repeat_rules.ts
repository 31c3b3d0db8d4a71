// Rules against text that is there already: the end of a completion that stands right of the cursor, lines of it that
// follow the cursor anyway, and lines that it writes over and over.
import { closesItsOwn } from "./bracket_balance.ts";
import type { CodeAround } from "./code_around.ts";
import { LineSplitter } from "./line_splitter.ts";
import type { OutputStage } from "./output_stage.ts";
import { Progress } from "./stop.ts";

/** What may be cut although the rest of its line does not follow: nobody writes it twice by intent. */
const PUNCTUATION_ONLY = /^[\s)\]}"'`;,]+$/;

/**
 * Cuts the longest end of the completion that is a beginning of the text after the cursor, provided that it is whole
 * lines of it, the rest of the line at the cursor first, or nothing but closing brackets and the like; and that it does
 * not close what the completion itself opened.
 */
export class SuffixOverlap implements OutputStage {
  readonly rule = "trim_suffix";
  readonly ended = false;
  acted = false;
  readonly #after: string;
  readonly #progress: Progress;
  #kept = "";
  /** The longest end of the text so far that may have to go. */
  #held = "";

  constructor(after: string) {
    this.#after = after;
    this.#progress = new Progress(after);
  }

  push(piece: string): string {
    if (this.#after === "") return piece;
    for (let i = 0; i < piece.length; i++) this.#progress.push(piece[i]);
    const text = this.#held + piece;
    const certain = text.slice(0, text.length - this.#progress.length);
    this.#held = text.slice(certain.length);
    this.#kept += certain;
    return certain;
  }

  flush(): string {
    const overlap = this.#progress.lengths().find((length) => this.#mayCut(length)) ?? 0;
    this.acted ||= overlap > 0;
    const text = this.#held.slice(0, this.#held.length - overlap);
    this.#held = "";
    return text;
  }

  #mayCut(length: number): boolean {
    const overlap = this.#after.slice(0, length);
    if (!endsLine(this.#after, length) && !PUNCTUATION_ONLY.test(overlap)) return false;
    return !closesItsOwn(this.#kept + this.#held.slice(0, this.#held.length - length), overlap);
  }
}

function endsLine(text: string, at: number): boolean {
  return text[at - 1] === "\n" || /^[ \t]*(?:\n|$)/.test(text.slice(at));
}

/**
 * Ends before a line that begins to repeat the lines after the cursor's: their first two with text in them, or the one
 * there is; at the completion's end, one is enough. Empty lines do not matter. Delivers whole lines.
 */
export class FollowingLines implements OutputStage {
  readonly rule = "trim_repeats";
  ended = false;
  acted = false;
  readonly #lines = new LineSplitter();
  readonly #first: string | undefined;
  readonly #second: string | undefined;
  /** Goes before the first line, which it shares with the completion. */
  #lineStart: string;
  #kept = "";
  /** What may turn out to be a repetition: a line that equals the first, and empty ones after it. */
  #held = "";

  constructor({ after, lineStart }: CodeAround) {
    const following = after.split("\n").slice(1).map((line) => line.trimEnd()).filter((line) => line !== "");
    [this.#first, this.#second] = following;
    this.#lineStart = lineStart;
  }

  push(piece: string): string {
    if (this.#first === undefined) return piece;
    let text = "";
    for (const line of this.ended ? [] : this.#lines.push(piece)) {
      text += this.#take(line);
      if (this.ended) break;
    }
    return text;
  }

  flush(): string {
    if (this.ended) return "";
    const text = this.#take(this.#lines.flush());
    if (this.ended) return text;
    this.acted ||= this.#held !== ""; // It ends with the first of the lines.
    this.#held = "";
    return text;
  }

  #take(line: string): string {
    const text = this.#withStart(line).trimEnd();
    // A line to which the completion adds nothing is not the completion's.
    const repeats = text === this.#first && line !== "" && !closesItsOwn(this.#kept + this.#held, text);
    if (this.#held !== "" ? text === this.#second : repeats && this.#second === undefined) {
      this.ended = this.acted = true;
      return "";
    }
    if (this.#held !== "" && text === "") {
      this.#held += line;
      return "";
    }
    const certain = this.#held + (repeats ? "" : line);
    this.#held = repeats ? line : "";
    this.#kept += certain;
    return certain;
  }

  #withStart(line: string): string {
    const joined = this.#lineStart + line.replace(/^\r?\n/, "");
    this.#lineStart = "";
    return joined;
  }
}

/** Lines of the longest block whose repetition is noticed. */
const MAX_PERIOD = 8;
/** A block that is there so many times in a row is a loop. */
const COPIES = 3;

/**
 * Ends after the first copy of a block of one to eight lines that comes three times in a row, unless it has no letter
 * and no digit in it: brackets close in rows. Delivers whole lines, and none that may belong to a second copy.
 */
export class Loops implements OutputStage {
  readonly rule = "trim_repeats";
  ended = false;
  readonly #lines = new LineSplitter();
  #lineStart: string;
  /** The last lines, without their breaks. */
  readonly #recent: string[] = [];
  /** `#runs[p - 1]`: how many of the last lines equal those p lines above them. */
  readonly #runs: number[] = new Array(MAX_PERIOD).fill(0);
  /** Lines, breaks included, that are not certain to stay. */
  #held: string[] = [];

  constructor(lineStart: string) {
    this.#lineStart = lineStart;
  }

  get acted(): boolean {
    return this.ended;
  }

  push(piece: string): string {
    let text = "";
    for (const line of this.ended ? [] : this.#lines.push(piece)) {
      text += this.#take(line);
      if (this.ended) break;
    }
    return text;
  }

  flush(): string {
    if (this.ended) return "";
    const text = this.#take(this.#lines.flush());
    return this.ended ? text : text + this.#release(0);
  }

  #take(line: string): string {
    this.#held.push(line);
    this.#count((this.#lineStart + line.replace(/^\r?\n/, "")).trimEnd());
    this.#lineStart = "";
    const period = this.#runs.findIndex((run, i) => run === (COPIES - 1) * (i + 1) && this.#hasWord(i + 1)) +
      1;
    if (period === 0) return this.#release(Math.max(...this.#runs));
    this.ended = true;
    return this.#release((COPIES - 1) * period);
  }

  #count(text: string) {
    for (let period = 1; period <= MAX_PERIOD; period++) {
      const equal = this.#recent.at(-period) === text;
      this.#runs[period - 1] = equal ? this.#runs[period - 1] + 1 : 0;
    }
    this.#recent.push(text);
    if (this.#recent.length > MAX_PERIOD) this.#recent.shift();
  }

  #hasWord(period: number): boolean {
    return this.#recent.slice(-period).some((line) => /[\p{L}\p{N}]/u.test(line));
  }

  /** Hands on what is held but the last `keep` lines. */
  #release(keep: number): string {
    return this.#held.splice(0, this.#held.length - keep).join("");
  }
}
