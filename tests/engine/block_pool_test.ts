import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { BlockPool } from "../../engine/block_pool.ts";

Deno.test("BlockPool.allocate() hands out every block once and then none", () => {
  const pool = new BlockPool(5);
  const blocks = [...pool.allocate(2)!, ...pool.allocate(3)!];
  assert.deepEqual([...blocks].sort(), [0, 1, 2, 3, 4]);
  assert.equal(pool.allocate(1), undefined);
  assert.equal(pool.numFree, 0);
});

Deno.test("BlockPool.allocate() takes nothing when it cannot give all", () => {
  const pool = new BlockPool(2);
  assert.equal(pool.allocate(3), undefined);
  assert.equal(pool.numFree, 2);
});

Deno.test("BlockPool.free() returns a shared block only at zero references", () => {
  const pool = new BlockPool(1);
  const blocks = pool.allocate(1)!;
  pool.share(blocks);
  pool.free(blocks);
  assert.equal(pool.numFree, 0);
  pool.free(blocks);
  assert.equal(pool.numFree, 1);
});

Deno.test("BlockPool.free() and share() refuse a block that nobody holds", () => {
  const pool = new BlockPool(2);
  const blocks = pool.allocate(1)!;
  pool.free(blocks);
  assert.throws(() => pool.free(blocks), RangeError);
  assert.throws(() => pool.share(blocks), RangeError);
  assert.throws(() => pool.free([7]), RangeError);
});

Deno.test("BlockPool.checkIntegrity() finds a leak and a table that nobody counted", () => {
  const pool = new BlockPool(4);
  const table = pool.allocate(2)!;
  pool.checkIntegrity([table]);
  assert.throws(() => pool.checkIntegrity([]), /1 references, sequences hold 0/);
  assert.throws(() => pool.checkIntegrity([table, table]), /1 references, sequences hold 2/);
});

Deno.test("BlockPool keeps free + held = all under random use", () => {
  const action = fc.record({ kind: fc.constantFrom("allocate", "share", "free"), pick: fc.nat(50) });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.array(action, { maxLength: 60 }), (size, actions) => {
      const pool = new BlockPool(size);
      const tables: number[][] = [];
      for (const { kind, pick } of actions) {
        if (kind === "allocate") {
          const table = pool.allocate(pick % 5);
          if (table) tables.push(table);
        } else if (tables.length > 0 && kind === "share") {
          const table = tables[pick % tables.length];
          pool.share(table);
          tables.push([...table]);
        } else if (tables.length > 0) {
          pool.free(tables.splice(pick % tables.length, 1)[0]);
        }
        pool.checkIntegrity(tables);
      }
      for (const table of tables) pool.free(table);
      assert.equal(pool.numFree, size);
    }),
  );
});
