import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { StatePool } from "../../engine/state_pool.ts";

Deno.test("StatePool.allocate() hands out every slot once and then none", () => {
  const pool = new StatePool(3);
  const slots = [pool.allocate(), pool.allocate(), pool.allocate()];
  assert.deepEqual([...slots].sort(), [0, 1, 2]);
  assert.equal(pool.allocate(), undefined);
  assert.equal(pool.numFree, 0);
});

Deno.test("StatePool.free() refuses a slot that nobody holds", () => {
  const pool = new StatePool(2), slot = pool.allocate()!;
  pool.free(slot);
  assert.throws(() => pool.free(slot), /state slot 0: it must be held/);
  assert.throws(() => pool.free(1), RangeError);
  assert.throws(() => pool.free(2), RangeError);
});

Deno.test("StatePool refuses to be without a slot", () => {
  for (const numSlots of [0, -1, 1.5, NaN]) assert.throws(() => new StatePool(numSlots), RangeError);
});

Deno.test("StatePool.checkIntegrity() finds a leak, a slot with two holders and one that nobody counted", () => {
  const pool = new StatePool(3), slot = pool.allocate()!;
  pool.checkIntegrity([slot]);
  for (const held of [[], [slot, slot], [slot, 2]]) assert.throws(() => pool.checkIntegrity(held), /corrupt/);
});

Deno.test("StatePool keeps free + held = all under random use", () => {
  const action = fc.record({ allocates: fc.boolean(), pick: fc.nat(50) });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.array(action, { maxLength: 60 }), (size, actions) => {
      const pool = new StatePool(size), held: number[] = [];
      for (const { allocates, pick } of actions) {
        if (allocates) held.push(...[pool.allocate()].filter((slot) => slot !== undefined));
        else if (held.length > 0) pool.free(held.splice(pick % held.length, 1)[0]);
        assert.equal(pool.numFree + held.length, size);
        pool.checkIntegrity(held);
      }
    }),
  );
});
