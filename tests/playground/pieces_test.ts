import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { nextLine, nextWord } from "../../clients/playground/src/pieces.ts";

/** All pieces that one gets by taking one after the other. */
function pieces(text: string, piece: (text: string) => string): string[] {
  const taken: string[] = [];
  for (let rest = text; rest !== ""; rest = rest.slice(taken.at(-1)!.length)) taken.push(piece(rest));
  return taken;
}

Deno.test("nextWord() takes a word or a run of signs, with the blanks before it", () => {
  assert.deepEqual(pieces("return a_1 + f(größe)\n    x ", nextWord), [
    ...["return", " a_1", " +", " f", "(", "größe", ")", "\n    x", " "],
  ]);
});

Deno.test("nextLine() takes the rest of the line, or what comes after line breaks and its line", () => {
  assert.deepEqual(pieces("a b\n    c\n\nd\n", nextLine), ["a b", "\n    c", "\n\nd", "\n"]);
});

Deno.test("nextWord() and nextLine() always take something, and lose nothing", () => {
  const text = fc.stringMatching(/^[ \n\tab_é(=🙂]{1,20}$/u);
  for (const piece of [nextWord, nextLine]) {
    fc.assert(fc.property(text, (text) => {
      const taken = pieces(text, piece);
      assert.ok(taken.every((one) => one !== ""));
      assert.equal(taken.join(""), text);
    }));
  }
});
