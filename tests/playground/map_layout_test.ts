import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { busiest, changes, layOut } from "../../clients/playground/src/map_layout.ts";

Deno.test("layOut() has a place for every block, in cells that can be seen", () => {
  const sizes = [
    fc.integer({ min: 1, max: 500_000 }),
    fc.integer({ min: 40, max: 1500 }),
    fc.integer({ min: 20, max: 400 }),
  ];
  fc.assert(
    fc.property(
      ...sizes as [fc.Arbitrary<number>, fc.Arbitrary<number>, fc.Arbitrary<number>],
      (blocks, width, height) => {
        const { cell, columns, perCell } = layOut(blocks, width, height);
        const rows = Math.ceil(Math.ceil(blocks / perCell) / columns);
        assert.ok(cell >= 4 && columns * cell <= width && rows * cell <= height);
      },
    ),
  );
  assert.deepEqual(layOut(100, 300, 150), { cell: 14, columns: 21, perCell: 1 });
});

Deno.test("busiest() prefers what somebody uses to what is cached, and that to nothing", () => {
  assert.deepEqual(["..c.", ".ch.", "hscc", "...."].map((some) => busiest(some, 0, 4)), ["c", "h", "s", "."]);
  assert.equal(busiest("h...", 1, 3), ".", "only its own blocks");
});

Deno.test("changes() shows a change for three readings, and none where the cache is another", () => {
  let glow = changes("..c", ".cc", new Uint8Array(3));
  assert.deepEqual([...glow], [0, 3, 0]);
  for (const left of [2, 1, 0, 0]) assert.equal((glow = changes(".cc", ".cc", glow))[1], left);
  assert.deepEqual([...changes("..", "cccc", glow)], [0, 0, 0, 0]);
});
