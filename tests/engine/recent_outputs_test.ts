import assert from "node:assert/strict";
import { NgramIndex } from "../../engine/ngram_index.ts";
import type { CacheSpace } from "../../engine/prefix_cache.ts";
import { RecentOutputs } from "../../engine/recent_outputs.ts";
import { Sequence } from "../../engine/sequence.ts";

function generated(
  cacheSpace: CacheSpace,
  promptIds: readonly number[],
  output: readonly number[],
): Sequence {
  const params = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] } as const;
  const sequence = new Sequence({ promptIds, maxTokens: 100, params, cacheSpace });
  for (const id of output) sequence.append(id);
  return sequence;
}

/** What follows `tail` in the outputs of a space, the first that is found. */
function continued(outputs: RecentOutputs, space: CacheSpace, tail: readonly number[]): number[] | undefined {
  const index = new NgramIndex();
  for (const id of tail) index.push(id);
  for (const recent of outputs.of(space)) {
    const match = recent.find(index);
    if (match) return recent.continuation(match.next, 3);
  }
  return undefined;
}

Deno.test("RecentOutputs finds an output by its own tokens and by the end of the prompt before it", () => {
  const outputs = new RecentOutputs();
  outputs.add(generated("", Array.from({ length: 40 }, (_, i) => i), [90, 91, 92, 93]));
  assert.deepEqual(continued(outputs, "", [38, 39]), [90, 91, 92]);
  assert.deepEqual(continued(outputs, "", [90, 91]), [92, 93]);
  assert.equal(continued(outputs, "", [10, 11]), undefined, "no more of the prompt than that");
});

Deno.test("RecentOutputs shares nothing between salts, and nothing of requests that share no cache", () => {
  const outputs = new RecentOutputs(), own = Symbol("one request");
  outputs.add(generated("ann", [1, 2], [3, 4]));
  outputs.add(generated(own, [5, 6], [7, 8]));
  for (const other of ["", "bob", own]) {
    assert.equal(continued(outputs, other, [1, 2]), undefined);
    assert.equal(continued(outputs, other, [5, 6]), undefined);
  }
  assert.deepEqual(continued(outputs, "ann", [1, 2]), [3, 4]);
  assert.equal(outputs.numSpaces, 1);
});

Deno.test("RecentOutputs holds no more than its limits, and drops what is oldest", () => {
  const outputs = new RecentOutputs({ maxSpaces: 3, maxTokens: 50 });
  for (let i = 0; i < 200; i++) {
    outputs.add(generated(`space ${i % 5}`, [i, i + 1], Array.from({ length: 30 }, (_, k) => 1000 * i + k)));
    assert.ok(outputs.numSpaces <= 3);
    const halves = outputs.of(`space ${i % 5}`);
    assert.ok(halves.length <= 2 && halves.every(({ length }) => length < 50 + 33), "a half and one output");
  }
  outputs.add(generated("", [1, 2], [3, 4]));
  for (let i = 0; i < 3; i++) {
    outputs.add(generated("", [9, 9], Array.from({ length: 30 }, (_, k) => 50 + k)));
  }
  assert.deepEqual(continued(outputs, "", [1, 2]), [3, 4], "in the older half");
  for (let i = 0; i < 3; i++) {
    outputs.add(generated("", [9, 9], Array.from({ length: 30 }, (_, k) => 50 + k)));
  }
  assert.equal(continued(outputs, "", [1, 2]), undefined, "dropped");
});
