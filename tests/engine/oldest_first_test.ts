import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { OldestFirst } from "../../engine/oldest_first.ts";

const members = fc.integer({ min: 0, max: 9 }).map((number) => ({ number }));
const pool = fc.array(members, { minLength: 1, maxLength: 10 });

Deno.test("OldestFirst.oldest is what a plain set begins with, whatever joins, leaves and joins again", () => {
  const action = fc.record({ kind: fc.constantFrom("add", "delete", "look", "drop oldest"), at: fc.nat() });
  fc.assert(fc.property(pool, fc.array(action, { maxLength: 200 }), (pool, actions) => {
    const set = new Set<object>(), tested = new OldestFirst<object>();
    for (const { kind, at } of actions) {
      const [first] = set;
      const member = pool[at % pool.length];
      if (kind === "look") assert.equal(tested.oldest, first);
      else if (kind === "add") [set, tested].forEach((one) => one.add(member));
      else if (kind === "delete") assert.equal(tested.delete(member), set.delete(member));
      else if (first) [set, tested].forEach((one) => one.delete(first));
      assert.equal(tested.has(member), set.has(member));
      assert.equal(tested.size, set.size);
    }
    assert.deepEqual([...tested], [...set]);
    assert.equal(tested.oldest, [...set][0]);
  }));
});
