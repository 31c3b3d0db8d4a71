import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { StopMatcher } from "../../engine/stop.ts";

function run(stops: readonly string[], pieces: readonly string[]) {
  const matcher = new StopMatcher(stops);
  let text = "";
  for (const piece of pieces) {
    const result = matcher.push(piece);
    text += result.text;
    if (result.stop !== undefined) return { text, stop: result.stop };
  }
  return { text: text + matcher.flush(), stop: undefined };
}

Deno.test("StopMatcher finds a stop string split over pieces, and delivers the text before it", () => {
  assert.deepEqual(run(["\n\n"], ["a = 1\n", "\nb"]), { text: "a = 1", stop: "\n\n" });
  assert.deepEqual(run(["END"], ["xE", "N", "Dy"]), { text: "x", stop: "END" });
});

Deno.test("StopMatcher.push() holds back only what may still become a stop string", () => {
  const matcher = new StopMatcher(["abcabd"]);
  assert.deepEqual(matcher.push("xabcab"), { text: "x" });
  assert.deepEqual(matcher.push("c"), { text: "abc" });
  assert.equal(matcher.flush(), "abc");
  assert.equal(matcher.flush(), "");
});

Deno.test("StopMatcher takes the string that is complete first, and the longest of those", () => {
  assert.deepEqual(run(["cd", "b"], ["abcd"]), { text: "a", stop: "b" });
  assert.deepEqual(run(["cd", "bcd"], ["abcd"]), { text: "a", stop: "bcd" });
});

Deno.test("StopMatcher gives the same however the text is cut, and the first match of all", () => {
  const letters = fc.oneof(
    fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 4 }),
    fc.string({ unit: fc.constantFrom("a", "b"), minLength: 5, maxLength: 12 }),
  );
  const text = fc.string({ unit: fc.constantFrom("a", "a", "b", "b", "c"), maxLength: 40 });
  fc.assert(
    fc.property(fc.array(letters, { maxLength: 4 }), text, fc.array(fc.nat(5)), (stops, text, cuts) => {
      const pieces: string[] = [];
      let at = 0;
      for (const length of cuts) pieces.push(text.slice(at, at += length));
      pieces.push(text.slice(at));
      const ends = stops.flatMap((stop) => text.includes(stop) ? [text.indexOf(stop) + stop.length] : []);
      const end = Math.min(...ends);
      const met = stops.filter((stop) =>
        text.slice(0, end).endsWith(stop)
      ).sort((a, b) => b.length - a.length)[0];
      const expected = ends.length === 0 ? { text, stop: undefined } : {
        text: text.slice(0, end - met.length),
        stop: met,
      };
      assert.deepEqual(run(stops, pieces), expected);
    }),
    { numRuns: 2000 },
  );
});

Deno.test("StopMatcher takes time by the character: long stop strings of one letter hold up nobody", () => {
  const numTokens = 2000, length = 32 * numTokens;
  const stops = Array.from({ length: 32 }, (_, i) => " ".repeat(length / 2) + "x".repeat(length / 2) + i);
  const pieces = Array.from({ length: numTokens }, () => " ".repeat(32));
  // Comparing each tail with each beginning would take hours here.
  assert.deepEqual(run([...stops, " ".repeat(length + 1)], pieces), {
    text: " ".repeat(length),
    stop: undefined,
  });
});
