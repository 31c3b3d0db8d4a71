import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { BLOCK_SIZE } from "../../kernels/step.ts";
import type { CacheSpace } from "../../engine/prefix_cache.ts";
import { numTokensOf } from "../../engine/prefix_search.ts";
import { compute, Machine, numbers } from "./cache_machine.ts";

Deno.test("PrefixCache.find() counts tokens, not blocks, and never more than its limit", () => {
  const machine = new Machine(8);
  compute(machine, numbers(40));
  const found = (ids: number[], limit?: number) => numTokensOf(machine.find("", ids, limit));
  assert.equal(found(numbers(60)), 40);
  assert.equal(found([...numbers(35), 0, 0]), 35);
  assert.equal(found([...numbers(19), 0, 0]), 19);
  assert.equal(found(numbers(40), 39), 39);
  assert.equal(found(numbers(40), 32), 32);
  assert.equal(found([1, ...numbers(40)]), 0);
});

Deno.test("PrefixCache.find() takes what a sequence has computed so far, while it runs", () => {
  const machine = new Machine(8);
  const running = machine.admit("", numbers(40))!;
  machine.advance(running, 21);
  const follower = machine.admit("", [...numbers(30), 0])!;
  assert.deepEqual([follower.computed, follower.copying?.rows], [21, 5]);
  machine.advance(running, 19); // It goes on in the block that is yet to be copied from.
  machine.check();
  machine.end(running);
  machine.advance(follower, 40);
  machine.check();
});

Deno.test("PrefixCache never shares between spaces, and forgets a private one with its last sequence", () => {
  const machine = new Machine(16);
  const own = Symbol("request");
  compute(machine, numbers(40), "a");
  assert.equal(numTokensOf(machine.find("b", numbers(40))), 0);
  assert.equal(numTokensOf(machine.find("", numbers(40))), 0);
  const first = machine.admit(own, numbers(40))!;
  machine.advance(first, 40);
  const second = machine.admit(own, numbers(40))!;
  assert.equal(second.computed, 39);
  machine.end(first);
  machine.advance(second, 1);
  machine.end(second);
  machine.check();
  assert.equal(numTokensOf(machine.find(own, numbers(40))), 0);
  assert.deepEqual([machine.pool.numFree, machine.cache.numUnused], [13, 3]);
});

Deno.test("PrefixCache.allocate() takes free blocks first, then the ends of what was used longest ago", () => {
  const machine = new Machine(6);
  compute(machine, numbers(32));
  compute(machine, numbers(32, 100));
  compute(machine, numbers(32)); // Used again: now the others are the oldest.
  const holder = machine.admit("", numbers(48, 200))!;
  machine.advance(holder, 48);
  const found = (first: number) => numTokensOf(machine.find("", numbers(32, first)));
  assert.deepEqual([found(0), found(100), found(200)], [32, 16, 32]);
  assert.equal(machine.cache.allocate(4), undefined, "blocks in use are never taken");
  machine.check();
});

Deno.test("PrefixCache keeps one copy of what several sequences computed, and of ends only the longest", () => {
  const machine = new Machine(12);
  const both = [0, 1].map(() => machine.admit("", numbers(40))!);
  for (const holder of both) machine.advance(holder, 40);
  assert.deepEqual(both[0].table.slice(0, 2), both[1].table.slice(0, 2));
  for (const holder of both) machine.end(holder);
  for (const length of [41, 42, 43]) compute(machine, numbers(length)); // Somebody types.
  assert.equal(machine.cache.numUnused, 3);
  machine.check();
});

Deno.test("PrefixCache finds the longest beginning ever computed while nothing was evicted", () => {
  const text = fc.array(fc.integer({ min: 0, max: 1 }), { minLength: 1, maxLength: 60 });
  fc.assert(fc.property(fc.array(text, { maxLength: 12 }), text, (computed, wanted) => {
    const machine = new Machine(100);
    for (const ids of computed) compute(machine, ids);
    const common = (ids: number[]) => {
      const differs = wanted.findIndex((id, i) => id !== ids[i]);
      return differs < 0 ? wanted.length : differs;
    };
    assert.equal(numTokensOf(machine.find("", wanted)), Math.max(0, ...computed.map(common)));
  }));
});

Deno.test("PrefixCache loses no block and gives nobody foreign rows under random use", () => {
  const action = fc.record({
    kind: fc.constantFrom(
      ...["admit", "admit", "advance", "advance", "advance", "end", "end"] as const,
      "fail",
    ),
    pick: fc.nat(1000),
    space: fc.constantFrom<CacheSpace>("", "", "key", Symbol("private")),
    /** The text has one of two tokens wherever this has an edit. */
    edits: fc.array(fc.nat(60), { maxLength: 2 }),
    length: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.constantFrom(32, 48, 64)),
  });
  let found = 0, evicted = 0, parks = 0, unparks = 0;
  fc.assert(
    fc.property(
      fc.integer({ min: 4, max: 14 }),
      fc.constantFrom(0, 1, 2, 5, 40),
      fc.array(action, { minLength: 40, maxLength: 160 }),
      (size, numHostBlocks, actions) => {
        const machine = new Machine(size, numHostBlocks), { holders, cache } = machine;
        for (const { kind, pick, space, edits, length } of actions) {
          if (kind === "admit") {
            const freeBefore = machine.pool.numFree, unusedBefore = cache.numUnused;
            const ids = numbers(length).map((i) => edits.includes(i) ? 100 : i);
            const holder = machine.admit(space, ids);
            found += holder?.computed ?? 0;
            if (holder && freeBefore < Math.ceil(length / BLOCK_SIZE) && unusedBefore > 0) evicted++;
          } else if (holders.length > 0) {
            const holder = holders[pick % holders.length];
            if (kind === "advance") machine.advance(holder, 1 + pick % 40);
            else if (kind === "end") machine.end(holder);
            else if (pick % 16 === 0) machine.fail();
          }
          machine.check();
        }
        for (const holder of [...holders]) machine.end(holder);
        machine.move();
        machine.check();
        assert.equal(cache.numAvailable, size);
        assert.equal((machine.slots?.numFree ?? 0) + cache.numParked, numHostBlocks);
        parks += cache.numMoved.parks;
        unparks += cache.numMoved.unparks;
      },
    ),
    { numRuns: 300 },
  );
  assert.ok(
    found > 5000 && evicted > 200 && parks > 200 && unparks > 100,
    `too tame: ${found} tokens found, ${evicted} evictions, ${parks} parked, ${unparks} brought back`,
  );
});
