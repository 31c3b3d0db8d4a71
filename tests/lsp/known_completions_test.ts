import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import type { Cursor } from "../../clients/lsp/cursor.ts";
import { KnownCompletions } from "../../clients/lsp/known_completions.ts";

function at(before: string, after = "", uri = "file:///a.py"): Cursor {
  return { uri, languageId: "python", before, after, lineStart: "", lineEnd: "", line: 0 };
}

Deno.test("KnownCompletions.find() gives what is left, for every beginning of a completion that is typed", () => {
  fc.assert(fc.property(
    fc.string({ maxLength: 200 }),
    fc.string({ minLength: 1, maxLength: 50, unit: fc.constantFrom("a", "b", "(", "\n") }),
    fc.string({ maxLength: 50 }),
    fc.nat(),
    (before, text, after, n) => {
      const known = new KnownCompletions();
      known.add(at(before, after), { id: "1", text });
      const typed = n % text.length;
      const rest = known.find(at(before + text.slice(0, typed), after))!;
      assert.equal(text.slice(0, typed) + rest.text, text);
      assert.equal(known.find(at(before + text, after)), undefined);
      assert.equal(known.find(at(before + text.slice(0, typed) + "z", after)), undefined);
      assert.equal(known.find(at(before + text.slice(0, typed), after + "z")), undefined);
      assert.equal(known.find(at(before, after, "file:///b.py")), undefined);
    },
  ));
});

Deno.test("KnownCompletions.find() compares 4096 units before the cursor", () => {
  const known = new KnownCompletions();
  const far = "x".repeat(5_000);
  known.add(at(far + "a = "), { id: "1", text: "b" });
  assert.equal(known.find(at("y" + far + "a = "))?.text, "b");
  assert.equal(known.find(at(far.slice(2_000) + "a = ")), undefined);
});

Deno.test("KnownCompletions.find() sees brackets that the editor closed, where the completion closes them", () => {
  const known = new KnownCompletions();
  known.add(at("x = ", "\n"), { id: "1", text: "f(a)" });
  const rest = known.find(at("x = f(", ")\n"));
  assert.deepEqual([rest?.text, rest?.replaces], ["a)", ")"]);
  assert.equal(known.find(at("x = f(", "]\n")), undefined);
});

Deno.test("KnownCompletions.find() takes the newest, or the one that is preferred, and forgets the oldest of 250", () => {
  const known = new KnownCompletions();
  known.add(at("x = "), { id: "1", text: "one" });
  known.add(at("x = "), { id: "2", text: "two" });
  assert.equal(known.find(at("x = "))?.text, "two");
  known.prefer("1");
  assert.equal(known.find(at("x = "))?.text, "one");
  assert.deepEqual(known.findAll(at("x = ")).map(({ text }) => text), ["one", "two"]);
  for (let i = 0; i < 249; i++) known.add(at(`y${i} = `), { id: `y${i}`, text: "three" });
  assert.deepEqual(known.findAll(at("x = ")).map(({ text }) => text), ["one"]);
});
