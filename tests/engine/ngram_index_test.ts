import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { MAX_MATCH, NgramIndex } from "../../engine/ngram_index.ts";

const LENGTHS = [8, 6, 4, 3, 2];

function indexOf(...texts: readonly (readonly number[])[]): NgramIndex {
  const index = new NgramIndex();
  for (const text of texts) {
    index.separate();
    for (const id of text) index.push(id);
  }
  return index;
}

/** What `find` and `continuation` promise, by looking everywhere. */
function expected(texts: readonly (readonly number[])[], tail: readonly number[], count: number) {
  // A barrier, -1, parts every text from what is before it; no token of a tail is one.
  const all: number[] = [];
  for (const text of texts) all.push(...(all.length > 0 && all.at(-1) !== -1 ? [-1] : []), ...text);
  const agreeAt = (next: number) => {
    let length = 0;
    while (
      length < Math.min(MAX_MATCH, next, tail.length) && all[next - 1 - length] === tail.at(-1 - length)
    ) length++;
    return length;
  };
  for (const n of LENGTHS) {
    for (let next = all.length - 1; next >= n; next--) {
      if (all[next] === -1 || agreeAt(next) < n) continue;
      const ids: number[] = [];
      while (ids.length < count) {
        const id = [...all, ...ids][next + ids.length];
        if (id === -1) break;
        ids.push(id);
      }
      return { length: agreeAt(next), ids };
    }
  }
  return undefined;
}

function found(index: NgramIndex, tail: NgramIndex, count: number) {
  const match = index.find(tail);
  return match && { length: match.length, ids: index.continuation(match.next, count) };
}

/** Few kinds of token, so that much recurs, and runs of them. */
const text = fc.array(fc.nat(3), { maxLength: 120, size: "max" });

Deno.test("NgramIndex finds the latest place of the longest n-gram in its own tokens, token after token", () => {
  let hits = 0;
  fc.assert(
    fc.property(text, fc.nat(20), (ids, count) => {
      const index = new NgramIndex();
      for (const [i, id] of ids.entries()) {
        index.push(id);
        const seen = ids.slice(0, i + 1);
        const wanted = expected([seen], seen, count);
        assert.deepEqual(found(index, index, count), wanted);
        if (wanted) hits++;
      }
    }),
    { numRuns: 200 },
  );
  assert.ok(hits > 5000, `too tame: ${hits} matches`);
});

Deno.test("NgramIndex finds the end of other tokens in several texts, and reaches across none", () => {
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 6 }), text, fc.nat(20), (texts, tail, count) => {
      assert.deepEqual(found(indexOf(...texts), indexOf(tail), count), expected(texts, tail, count));
    }),
    { numRuns: 500 },
  );
});

Deno.test("NgramIndex keeps what it has entered as it grows", () => {
  const ids = Array.from({ length: 5000 }, (_, i) => (i * i * 7 + i) % 4999);
  const index = indexOf(ids);
  for (const end of [2, 100, 255, 256, 257, 1023, 4096, 4990]) {
    const match = index.find(indexOf(ids.slice(Math.max(0, end - 40), end)));
    assert.equal(match?.next, end);
    assert.deepEqual(index.continuation(end, 3), ids.slice(end, end + 3));
  }
});

Deno.test("NgramIndex.continuation() repeats a pattern that runs into the end", () => {
  const index = indexOf([5, 1, 2, 3, 1, 2, 3, 1, 2]);
  assert.deepEqual(found(index, index, 7), { length: 5, ids: [3, 1, 2, 3, 1, 2, 3] });
});
