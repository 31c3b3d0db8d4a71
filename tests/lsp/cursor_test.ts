import assert from "node:assert/strict";
import { TextDocument } from "vscode-languageserver-textdocument";
import { type Cursor, cursorAt, windowAround } from "../../clients/lsp/cursor.ts";

function documentOf(text: string): TextDocument {
  return TextDocument.create("file:///a.py", "python", 1, text);
}

function cursorIn(marked: string): Cursor {
  const [before, after] = marked.split("▮");
  const lines = before.split("\n");
  const position = { line: lines.length - 1, character: lines.at(-1)!.length };
  return cursorAt(documentOf(before + after), position)!;
}

Deno.test("cursorAt() counts columns in UTF-16 units, after emoji and CJK as well", () => {
  for (const line of ["x = '🙂'▮ + 1", "名前 = ▮値", "\tif a:▮", "▮", "a ▮b"]) {
    const cursor = cursorIn(`first\n${line}\nlast\n`);
    assert.equal(`${cursor.lineStart}▮${cursor.lineEnd}`, line);
    assert.equal(cursor.line, 1);
  }
});

Deno.test("cursorAt() finds no cursor within a character of two UTF-16 units", () => {
  assert.equal(cursorAt(documentOf("a🙂b"), { line: 0, character: 2 }), undefined);
  assert.notEqual(cursorAt(documentOf("a🙂b"), { line: 0, character: 3 }), undefined);
});

Deno.test("cursorAt() leaves carriage returns where they are, and out of the line's end", () => {
  const { before, after, lineEnd } = cursorIn("a\r\nb▮c\r\nd\r\n");
  assert.deepEqual([before, after, lineEnd], ["a\r\nb", "c\r\nd\r\n", "c"]);
});

Deno.test("windowAround() shows 192 to 256 lines before the cursor and 64 after it", () => {
  const lines = Array.from({ length: 1000 }, (_, i) => `line ${i}\n`);
  for (let at = 0; at <= 1000; at += 37) {
    const [before, after] = [lines.slice(0, at).join(""), lines.slice(at).join("")];
    const { prefix, suffix } = windowAround(cursorIn(`${before}▮${after}`));
    const shown = prefix.split("\n").length;
    assert.ok(before.endsWith(prefix) && after.startsWith(suffix));
    assert.ok(at < 256 ? prefix === before : shown > 192 && shown <= 256, `${at}: ${shown}`);
    assert.ok(suffix === after || suffix.split("\n").length === 65);
  }
});

Deno.test("windowAround() begins where it did while lines are written, for 64 of them", () => {
  const lines = Array.from({ length: 400 }, (_, i) => `line ${i}\n`).join("");
  const starts = new Set<string>();
  for (let added = 0; added < 192; added++) {
    const { prefix } = windowAround(cursorIn(lines + "new\n".repeat(added) + "▮"));
    starts.add(prefix.slice(0, 20));
  }
  assert.equal(starts.size, 4);
});

Deno.test("windowAround() cuts a very long line at a steady place, and no character in two", () => {
  const long = "🙂".repeat(40_000);
  for (const odd of ["", "x"]) {
    const { prefix, suffix } = windowAround(cursorIn(`${odd}${long}▮${odd}${long}`));
    assert.ok(prefix.length <= 32_768 && prefix.length >= 28_000);
    assert.ok(suffix.length <= 8_192);
    assert.ok(prefix.isWellFormed() && suffix.isWellFormed());
    const typed = windowAround(cursorIn(`${odd}${long}abc▮`)).prefix;
    assert.ok(typed.startsWith(prefix) || odd === "", "the beginning moved");
  }
});

Deno.test("cursorAt() takes what the editor is about to insert for inserted", () => {
  const range = { start: { line: 0, character: 4 }, end: { line: 0, character: 6 } };
  const cursor = cursorAt(documentOf("x = ab)\n"), range.end, { range, text: "abs(" })!;
  assert.deepEqual([cursor.before, cursor.after, cursor.lineStart], ["x = abs(", ")\n", "x = abs("]);
});
