// A place in a document and the text around it, cut to windows of lines. Pure; knows no server.
import type { TextDocument } from "vscode-languageserver-textdocument";

export interface Cursor {
  readonly uri: string;
  readonly languageId: string;
  /** All text before the place, and after it. */
  readonly before: string;
  readonly after: string;
  /** The place's line: the text before it and after it, without the line break. */
  readonly lineStart: string;
  readonly lineEnd: string;
  /** Counts from 0. */
  readonly line: number;
}

/** LSP's: lines from 0, characters in UTF-16 units. */
export interface Position {
  readonly line: number;
  readonly character: number;
}

export interface Range {
  readonly start: Position;
  readonly end: Position;
}

/**
 * Undefined within a character of two UTF-16 units, where nothing can be inserted.
 * @param typed what the editor is about to put in place of `typed.range`; the place is then after it
 */
export function cursorAt(
  document: TextDocument,
  position: Position,
  typed?: { readonly range: Range; readonly text: string },
): Cursor | undefined {
  const text = document.getText();
  const { start, end } = typed?.range ?? { start: position, end: position };
  const before = text.slice(0, document.offsetAt(start)) + (typed?.text ?? "");
  const after = text.slice(document.offsetAt(end));
  if (/[\uD800-\uDBFF]$/.test(before) && /^[\uDC00-\uDFFF]/.test(after)) return undefined;
  return {
    uri: document.uri,
    languageId: document.languageId,
    before,
    after,
    lineStart: before.slice(before.lastIndexOf("\n") + 1),
    lineEnd: /^[^\r\n]*/.exec(after)![0],
    line: start.line,
  };
}

export interface Window {
  readonly prefix: string;
  readonly suffix: string;
}

/** As llama.vim's: of 256 lines before the cursor and 64 after it. */
const MAX_PREFIX_LINES = 256;
const MAX_SUFFIX_LINES = 64;
/** The window's first line is a multiple of this: a new line at the cursor leaves the window's beginning where it was. */
const LINE_STEP = 64;
/** For files whose lines are long. UTF-16 units; far more than 256 lines of code have. */
const MAX_PREFIX_CHARACTERS = 32_768;
const MAX_SUFFIX_CHARACTERS = 8_192;
const CHARACTER_STEP = 4_096;

/**
 * What the model sees of a file. The prefix begins at steady places, so that while one types it begins as it did, and
 * what the server has computed of it stays good.
 */
export function windowAround({ before, after }: Cursor): Window {
  return { prefix: cutPrefix(before), suffix: cutSuffix(after) };
}

function cutPrefix(before: string): string {
  const numLines = before.split("\n").length;
  const surplus = numLines - MAX_PREFIX_LINES;
  const skipped = surplus > 0 ? Math.ceil(surplus / LINE_STEP) * LINE_STEP : 0;
  const lines = before.slice(startOfLine(before, skipped));
  const tooMany = lines.length - MAX_PREFIX_CHARACTERS;
  if (tooMany <= 0) return lines;
  return wholeCharacters(lines.slice(Math.ceil(tooMany / CHARACTER_STEP) * CHARACTER_STEP));
}

function cutSuffix(after: string): string {
  const lines = after.slice(0, startOfLine(after, MAX_SUFFIX_LINES));
  return lines.length <= MAX_SUFFIX_CHARACTERS
    ? lines
    : lines.slice(0, MAX_SUFFIX_CHARACTERS).replace(/[\uD800-\uDBFF]$/, "");
}

/** The offset at which the line of this number begins, or the text's end. */
function startOfLine(text: string, line: number): number {
  let offset = 0;
  for (let i = 0; i < line; i++) {
    const end = text.indexOf("\n", offset);
    if (end < 0) return text.length;
    offset = end + 1;
  }
  return offset;
}

function wholeCharacters(text: string): string {
  return text.replace(/^[\uDC00-\uDFFF]/, "");
}
