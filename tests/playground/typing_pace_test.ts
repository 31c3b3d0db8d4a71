import assert from "node:assert/strict";
import { TypingPace } from "../../clients/playground/src/typing_pace.ts";

/** Somebody who types with these gaps, on a server that answers so. */
function pace(gapMs: number, answerMs: number): TypingPace {
  const pace = new TypingPace();
  for (let key = 0; key < 30; key++) {
    pace.key(key * gapMs);
    pace.answered(answerMs);
  }
  return pace;
}

Deno.test("TypingPace asks a server that answers between two keys at once, and a slower one after a pause", () => {
  assert.equal(pace(200, 50).delayMs("return a", ""), 15);
  const slow = pace(200, 900).delayMs("return a", "");
  assert.ok(slow > 200, `${slow} ms must be longer than from key to key`);
  assert.ok(pace(100, 900).delayMs("return a", "") < slow, "who types faster pauses sooner");
});

Deno.test("TypingPace waits less where a suggestion is likelier, and never for long", () => {
  const slow = pace(200, 900);
  const [likely, atEnd, within] = [["foo.", ""], ["fo", ""], ["fo", "x + 1"]] as const;
  assert.ok(slow.delayMs(...likely) < slow.delayMs(...atEnd));
  assert.ok(slow.delayMs(...atEnd) < slow.delayMs(...within));
  assert.ok(pace(400, 5000).delayMs("fo", "x") <= 600);
});

Deno.test("TypingPace takes pauses for no pace", () => {
  const pause = pace(150, 900), before = pause.delayMs("x", "");
  pause.key(60_000);
  assert.equal(pause.delayMs("x", ""), before);
});

Deno.test("TypingPace waits for a pause where every key finds the request before it unanswered", () => {
  const pace = new TypingPace(), gapMs = 120;
  for (let key = 0; key < 30; key++) {
    const delayMs = pace.delayMs("fo", "");
    pace.key(key * gapMs);
    if (delayMs < gapMs) pace.unanswered(gapMs - delayMs);
  }
  assert.ok(pace.delayMs("fo", "") > gapMs);
  for (let pause = 0; pause < 10; pause++) pace.answered(20);
  assert.equal(pace.delayMs("fo", ""), 15, "until it is seen to be fast");
});
