// The prefix cache of models with recurrent layers: nobody goes on from anything but a state that was kept, what leads to
// none is given up, and what is kept gives way to who runs.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { CachedStates } from "../../engine/cached_states.ts";
import type { CacheSpace } from "../../engine/prefix_cache.ts";
import { numTokensOf } from "../../engine/prefix_search.ts";
import { type Holder, Machine, numbers } from "./cache_machine.ts";

/** Computes a sequence, keeps its state after so many of its tokens, and ends it. */
function compute(
  machine: Machine,
  ids: readonly number[],
  keptAt: readonly number[],
  leaves = false,
): Holder {
  const holder = machine.admit("", ids)!;
  for (const end of [...keptAt, ids.length]) {
    machine.advance(holder, end - holder.computed);
    if (keptAt.includes(end)) machine.keep(holder);
  }
  machine.move();
  machine.end(holder, leaves);
  machine.check();
  return holder;
}

const found = (machine: Machine, ids: number[], limit?: number) => numTokensOf(machine.find("", ids, limit));

Deno.test("PrefixCache with states finds the longest beginning after which one was kept, at any row", () => {
  const machine = new Machine(16, 0, 6);
  compute(machine, numbers(60), [16, 37, 48]);
  assert.equal(found(machine, numbers(60)), 48);
  assert.equal(found(machine, numbers(60), 47), 37);
  assert.equal(found(machine, [...numbers(40), 0, 0]), 37);
  assert.equal(found(machine, [...numbers(36), 0, 0]), 16);
  assert.equal(found(machine, numbers(15)), 0);
  assert.equal(machine.find("", numbers(48), 40).numMatched, 40, "more is known than can be gone on from");
  assert.equal(machine.find("", numbers(60)).numMatched, 48, "what follows the last state is given up");
});

Deno.test("PrefixCache with states keeps what a sequence leaves, and no block without a state behind it", () => {
  const machine = new Machine(12, 0, 3);
  compute(machine, numbers(40), [], true);
  assert.deepEqual([found(machine, numbers(60)), machine.cache.numUnused], [40, 3]);
  compute(machine, numbers(70, 500), []);
  assert.deepEqual([found(machine, numbers(70, 500)), machine.cache.numUnused], [0, 3]);
  const holders = [0, 1, 2].map((k) => machine.admit("", numbers(20, 1000 * (k + 1)))!);
  assert.equal(machine.cache.numUnused, 0, "its slot was taken, and its blocks lead nowhere");
  assert.equal(machine.admit("", [1]), undefined, "all slots are held");
  for (const holder of holders) machine.end(holder);
  machine.check();
});

Deno.test("PrefixCache with states lets the state give way that was made or used longest ago", () => {
  const machine = new Machine(30, 0, 4);
  compute(machine, numbers(50), [16, 32, 48]); // And the slot that it had itself.
  const again = machine.admit("", [...numbers(20), 7])!;
  assert.equal(again.computed, 16);
  machine.advance(again, 9);
  machine.end(again, true); // Takes the last slot that was free.
  machine.check();
  const other = machine.admit("", numbers(20, 100))!;
  assert.deepEqual([found(machine, numbers(40)), found(machine, numbers(50)), found(machine, numbers(20))], [
    16,
    48,
    16,
  ]);
  machine.end(other);
});

Deno.test("PrefixCache with states hands states on to the block that takes another's place", () => {
  const machine = new Machine(20, 0, 8);
  compute(machine, numbers(20), [18]);
  compute(machine, numbers(30), [22]); // Its second block begins with the tokens of the other's.
  assert.deepEqual([found(machine, numbers(19)), found(machine, numbers(30))], [18, 22]);
  assert.equal(machine.cache.numUnused, 2);
  const both = [0, 1].map(() => machine.admit("", numbers(32, 200))!);
  for (const [k, holder] of both.entries()) {
    machine.advance(holder, 10 + 10 * k);
    machine.keep(holder);
  }
  for (const holder of both) machine.advance(holder, 32);
  assert.deepEqual(both[0].table, both[1].table);
  for (const holder of both) machine.end(holder, false);
  machine.check();
  assert.deepEqual([found(machine, numbers(32, 200)), found(machine, numbers(19, 200))], [20, 10]);
});

Deno.test("CachedStates never copies a slot to itself, and has copies made in the order in which they were asked for", () => {
  const states = new CachedStates(2, () => {});
  const [a, b] = [states.allocate()!, states.allocate()!];
  states.copy(a, b);
  states.copy(b, b);
  states.copy(b, a);
  assert.deepEqual(states.beginCopies(), [{ from: a, to: b }, { from: b, to: a }]);
  assert.deepEqual(states.beginCopies(), []);
  assert.equal(states.allocate(), undefined);
  states.free(a);
  assert.throws(() => states.free(a), /state slot 0/);
  states.checkIntegrity([b], []);
  assert.throws(() => states.checkIntegrity([a], []), /corrupt/);
});

Deno.test("PrefixCache with states loses no block or slot and gives nobody a foreign state under random use", () => {
  const action = fc.record({
    kind: fc.constantFrom(
      ...["admit", "admit", "advance", "advance", "advance", "keep", "keep", "end", "leave", "move"] as const,
      "fail",
    ),
    pick: fc.nat(1000),
    space: fc.constantFrom<CacheSpace>("", "", "key", Symbol("private")),
    edits: fc.array(fc.nat(60), { maxLength: 2 }),
    length: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.constantFrom(32, 48, 64)),
  });
  let reused = 0, copied = 0, taken = 0, given = 0;
  fc.assert(
    fc.property(
      fc.integer({ min: 4, max: 14 }),
      fc.constantFrom(0, 2, 40),
      fc.integer({ min: 1, max: 8 }),
      fc.array(action, { minLength: 40, maxLength: 160 }),
      (size, numHostBlocks, numStateSlots, actions) => {
        const machine = new Machine(size, numHostBlocks, numStateSlots), { holders, cache } = machine;
        for (const { kind, pick, space, edits, length } of actions) {
          if (kind === "move") machine.move();
          else if (kind === "admit") {
            const before = cache.states!.numSnapshots;
            const ids = numbers(length).map((i) => edits.includes(i) ? 100 : i);
            const holder = machine.admit(space, ids);
            reused += holder?.computed ?? 0;
            if (holder?.copying) copied++;
            if (cache.states!.numSnapshots < before) given++;
          } else if (holders.length > 0) {
            const holder = holders[pick % holders.length];
            if (kind === "advance") machine.advance(holder, 1 + pick % 40);
            else if (kind === "keep") {
              machine.keep(holder);
              taken++;
            } else if (kind === "leave") machine.end(holder, true);
            else if (kind === "end") machine.end(holder, false);
            else if (pick % 16 === 0) machine.fail();
          }
          machine.check();
        }
        for (const holder of [...holders]) machine.end(holder);
        machine.move();
        machine.check();
        assert.equal(cache.numAvailable, size);
        assert.equal(cache.states!.numAvailable, numStateSlots);
      },
    ),
    { numRuns: 600 },
  );
  assert.ok(
    reused > 3000 && copied > 100 && taken > 1000 && given > 100,
    `too tame: ${reused} tokens reused, ${copied} copies, ${taken} states kept, ${given} given up`,
  );
});
