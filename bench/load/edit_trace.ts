// What a person does at the keyboard, as a list of key presses with the time before each: rewrites lines of a real file
// character by character, mistypes and corrects, deletes a line and takes that back, jumps, stops to think, accepts.
import type { EditorBuffer } from "./editor_buffer.ts";
import type { SeededRandom } from "./seeded_random.ts";

export type Action =
  | { readonly kind: "type"; readonly text: string }
  | { readonly kind: "backspace" }
  | { readonly kind: "deleteLine" }
  /** Opens an empty line above the cursor's, and goes there. */
  | { readonly kind: "openLine" }
  | { readonly kind: "jump"; readonly line: number }
  /** Takes the completion that is shown, if one is. */
  | { readonly kind: "accept" }
  | { readonly kind: "undo" };

export interface KeyPress {
  /** Since the key press before, at a person's speed. */
  readonly gapMs: number;
  readonly action: Action;
}

/** People type at 200 to 400 ms a key when they write code; thinking takes seconds. */
const KEY_GAP_MS = 200, KEY_SPREAD = 0.45;
const THINK_MS = 1500, THINK_SPREAD = 0.5;
const TYPO = 0.03, DELETE_AND_UNDO = 0.25, ACCEPT = 0.6, ACCEPT_IS_WRONG = 0.4;
const MAX_REWRITTEN_LINES = 3;

/** Edits of the file of these lines, one after the other without end. */
export function* editTrace(lines: readonly string[], random: SeededRandom): Generator<KeyPress> {
  for (;;) {
    const at = placeToEdit(lines, random);
    const rewritten = lines.slice(at, at + 1 + random.below(MAX_REWRITTEN_LINES));
    yield think({ kind: "jump", line: at }, random);
    if (random.chance(DELETE_AND_UNDO)) {
      yield key({ kind: "deleteLine" }, random);
      yield think({ kind: "undo" }, random);
    }
    for (let i = 0; i < rewritten.length; i++) yield key({ kind: "deleteLine" }, random);
    yield key({ kind: "openLine" }, random);
    for (const [i, line] of rewritten.entries()) yield* writeLine(line, i < rewritten.length - 1, random);
  }
}

/** Does to the buffer what the key does; `shown` is the completion that the editor shows. */
export function applyAction(buffer: EditorBuffer, action: Action, shown: string): void {
  switch (action.kind) {
    case "type":
      return buffer.insert(action.text);
    case "backspace":
      return buffer.backspace();
    case "deleteLine":
      return buffer.deleteLine();
    case "openLine":
      return buffer.openLine();
    case "jump":
      return buffer.jumpToLine(action.line);
    case "accept":
      return buffer.insert(shown);
    case "undo":
      return buffer.undo();
  }
}

/** The editor indents by itself, so that is one key. */
function* writeLine(line: string, more: boolean, random: SeededRandom): Generator<KeyPress> {
  const [, indentation, code] = /^(\s*)(.*)$/s.exec(line)!;
  if (indentation !== "") yield key({ kind: "type", text: indentation }, random);
  for (const character of code) {
    if (random.chance(TYPO)) yield* typo(character, random);
    yield key({ kind: "type", text: character }, random);
  }
  if (random.chance(ACCEPT)) {
    yield think({ kind: "accept" }, random);
    // An accepted text is kept, or looked at and taken back; the file goes on with its own next line either way.
    if (random.chance(ACCEPT_IS_WRONG)) yield think({ kind: "undo" }, random);
  }
  if (more) yield key({ kind: "type", text: "\n" }, random);
}

/** A wrong letter, sometimes the right one after it, then as many backspaces. */
function* typo(character: string, random: SeededRandom): Generator<KeyPress> {
  const wrong = [String.fromCharCode(97 + random.below(26)), ...(random.chance(0.3) ? [character] : [])];
  for (const text of wrong) yield key({ kind: "type", text }, random);
  for (let i = 0; i < wrong.length; i++) yield key({ kind: "backspace" }, random);
}

/** A line with code on it. */
function placeToEdit(lines: readonly string[], random: SeededRandom): number {
  const numbers = lines.map((_, i) => i).filter((i) => lines[i].trim().length > 3);
  return numbers.length > 0 ? random.pick(numbers) : random.below(Math.max(1, lines.length));
}

function key(action: Action, random: SeededRandom): KeyPress {
  return { gapMs: Math.min(2000, random.logNormal(KEY_GAP_MS, KEY_SPREAD)), action };
}

function think(action: Action, random: SeededRandom): KeyPress {
  return { gapMs: Math.min(8000, random.logNormal(THINK_MS, THINK_SPREAD)), action };
}
