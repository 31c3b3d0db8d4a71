import assert from "node:assert/strict";
import type { Cursor } from "../../clients/lsp/cursor.ts";
import { TypingRhythm } from "../../clients/lsp/typing_rhythm.ts";

function at(before: string, lineEnd = "", after = ""): Cursor {
  return { uri: "", languageId: "", before, after, lineStart: "", lineEnd, line: 0 };
}

const UNLIKELY = at("ab", "cd", "cd");
const LIKELY = at("f(");

function typist(gapMs: number, keys = 12): TypingRhythm {
  const rhythm = new TypingRhythm();
  for (let i = 0; i < keys; i++) rhythm.keyTyped(i * gapMs);
  return rhythm;
}

Deno.test("TypingRhythm.delayMs() is 1.5 to 3 mean gaps, by how likely a completion is wanted", () => {
  assert.equal(typist(200).delayMs(LIKELY), 300);
  assert.equal(typist(200).delayMs(UNLIKELY), 600);
  assert.equal(typist(200).delayMs(at("ab")), 450);
  assert.equal(new TypingRhythm().delayMs(LIKELY), 300);
});

Deno.test("TypingRhythm.delayMs() takes gaps for 100 to 400 ms, and pauses for none", () => {
  assert.equal(typist(10).delayMs(LIKELY), 150);
  assert.equal(typist(900).delayMs(LIKELY), 600);
  assert.equal(typist(5_000).delayMs(LIKELY), 300);
});

Deno.test("TypingRhythm.delayMs() is shorter by what an answer takes, within 100 and 1000 ms", () => {
  const rhythm = typist(200);
  rhythm.answered(120);
  assert.equal(rhythm.delayMs(LIKELY), 180);
  for (let i = 0; i < 10; i++) rhythm.answered(900);
  assert.equal(rhythm.delayMs(LIKELY), 100);
  assert.equal(typist(400).delayMs(UNLIKELY), 1_000);
});

Deno.test("TypingRhythm.idleMs() is the time since the last key", () => {
  assert.equal(new TypingRhythm().idleMs(5), Infinity);
  assert.equal(typist(100, 3).idleMs(250), 50);
});
