// What the benchmark of drafts completes: each kind is what its name says, and a seed decides all.
import assert from "node:assert/strict";
import { type Case, type Kind, KINDS, makeCases } from "../../bench/speculation/cases.ts";
import { SeededRandom } from "../../bench/load/seeded_random.ts";

const LINES = [
  ...Array.from({ length: 30 }, (_, i) => `  const total${i} = compute(total, ${i}) + total;`),
  ...Array.from({ length: 12 }, (_, i) => `  ["name ${i}", value${i}],`),
  ...Array.from({ length: 30 }, (_, i) => i % 2 ? `  if (ready) total += step(${i});` : `  // note ${i}`),
];

function cases(kind: Kind, seed = 3): Case[] {
  return makeCases(kind, [{ path: "file.ts", lines: LINES }], new SeededRandom(seed), 5);
}

Deno.test("makeCases() makes the same cases for a seed, of every kind, and says what it lacks", () => {
  for (const kind of KINDS) {
    assert.deepEqual(cases(kind), cases(kind));
    assert.equal(cases(kind).length, 5);
  }
  const bare = [{ path: "file.ts", lines: ["a", "b", "c"] }];
  assert.throws(() => makeCases("list", bare, new SeededRandom(1), 1), /hardly any code for "list"/);
});

Deno.test("makeCases() takes a list's further entries out, renames what is edited, and changes a line for the second question", () => {
  for (const [{ prompt }] of cases("list")) {
    assert.ok(prompt.kind === "infill");
    const last = prompt.prefix.trimEnd().split("\n").at(-1)!;
    assert.ok(
      LINES.includes(last) && !LINES[LINES.indexOf(last) + 1].startsWith(prompt.suffix.split("\n")[0]),
    );
  }
  for (const [{ prompt }] of cases("edit")) {
    assert.ok(prompt.kind === "text");
    const [original, begun] = prompt.text.split("\n\n");
    assert.equal(original.split("\n").length, 24);
    assert.ok(begun.split("\n").length === 9 && /\bnext[A-Z]/.test(begun) && !/\bnext[A-Z]/.test(original));
  }
  for (const [first, second] of cases("again")) {
    assert.ok(first.prompt.kind === "infill" && second.prompt.kind === "infill");
    assert.equal(first.prompt.suffix, second.prompt.suffix);
    assert.equal(second.prompt.prefix.replace(" // checked", ""), first.prompt.prefix);
    assert.notEqual(second.prompt.prefix, first.prompt.prefix);
  }
});
