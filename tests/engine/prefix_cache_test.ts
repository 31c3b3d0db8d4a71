import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { BLOCK_SIZE } from "../../kernels/step.ts";
import { BlockPool } from "../../engine/block_pool.ts";
import {
  type CachedBlock,
  type CacheHit,
  type CacheSpace,
  numTokensOf,
  PrefixCache,
} from "../../engine/prefix_cache.ts";

/** What a row of a block holds: the tokens up to it, and in whose space they were computed. */
interface Row {
  readonly space: CacheSpace;
  readonly tokens: readonly number[];
}

/** A sequence that uses the cache as the scheduler does. */
interface Holder {
  readonly space: CacheSpace;
  readonly ids: number[];
  readonly table: number[];
  computed: number;
  last: CachedBlock | undefined;
  copying: { source: CachedBlock; rows: number } | undefined;
}

/** A cache over blocks whose rows are recorded, and the sequences that use it. */
class Machine {
  readonly pool: BlockPool;
  readonly cache: PrefixCache;
  readonly holders: Holder[] = [];
  readonly #rows: (Row | undefined)[];

  constructor(numBlocks: number) {
    this.pool = new BlockPool(numBlocks);
    this.cache = new PrefixCache(this.pool);
    this.#rows = new Array(numBlocks * BLOCK_SIZE);
  }

  find(space: CacheSpace, ids: readonly number[], limit = ids.length): CacheHit {
    return this.cache.find(space, { tokenId: (i) => ids[i] }, limit);
  }

  /** Starts a sequence; undefined when there is no room for it. */
  admit(space: CacheSpace, ids: readonly number[]): Holder | undefined {
    const hit = this.find(space, ids, ids.length - 1);
    const missing = Math.ceil(ids.length / BLOCK_SIZE) - hit.numBlocks;
    if (missing > this.cache.numAvailable - this.cache.numUnusedIn(hit)) return undefined;
    const shared = this.cache.holdPath(hit.last);
    if (hit.copy) this.cache.hold(hit.copy.source);
    const own = this.cache.allocate(missing)!;
    const holder: Holder = {
      space,
      ids: [...ids],
      table: [...shared, ...own],
      computed: numTokensOf(hit),
      last: hit.last,
      copying: hit.copy,
    };
    this.holders.push(holder);
    return holder;
  }

  /** Does the copy that is due, and computes up to `count` tokens more. */
  advance(holder: Holder, count: number) {
    const { table, ids, space, copying } = holder;
    if (copying) {
      const to = table[Math.floor(holder.computed / BLOCK_SIZE)];
      for (let row = 0; row < copying.rows; row++) {
        this.#rows[to * BLOCK_SIZE + row] = this.#rows[copying.source.block * BLOCK_SIZE + row];
      }
      this.cache.release(copying.source);
      holder.copying = undefined;
    }
    const end = Math.min(ids.length, holder.computed + count);
    for (let i = holder.computed; i < end; i++) {
      this.#rows[slotOf(table, i)] = { space, tokens: ids.slice(0, i + 1) };
    }
    holder.computed = end;
    holder.last = this.cache.record(space, holder.last, { tokenId: (i) => ids[i] }, end, table);
  }

  end(holder: Holder) {
    this.holders.splice(this.holders.indexOf(holder), 1);
    if (holder.copying) this.cache.release(holder.copying.source);
    this.cache.releasePath(holder.last);
    this.pool.free(holder.table.slice(holder.last ? holder.last.index + 1 : 0));
  }

  /** Every row that a sequence counts on, or that is yet to be copied for it, holds its tokens, of its own space. */
  check() {
    const copied = this.holders.flatMap(({ copying }) => copying ? [[copying.source.block]] : []);
    this.cache.checkIntegrity([...this.holders.map(({ table }) => table), ...copied]);
    for (const { table, ids, space, computed, copying } of this.holders) {
      const pending = copying?.rows ?? 0;
      for (let i = 0; i < computed; i++) {
        const inSource = copying !== undefined && i >= computed - pending;
        const slot = inSource ? copying.source.block * BLOCK_SIZE + i % BLOCK_SIZE : slotOf(table, i);
        assert.deepEqual(this.#rows[slot], { space, tokens: ids.slice(0, i + 1) }, `row ${i}`);
      }
    }
  }
}

function slotOf(table: readonly number[], position: number): number {
  return table[Math.floor(position / BLOCK_SIZE)] * BLOCK_SIZE + position % BLOCK_SIZE;
}

function numbers(length: number, first = 0): number[] {
  return Array.from({ length }, (_, i) => first + i);
}

/** Computes a sequence and ends it. */
function compute(machine: Machine, ids: readonly number[], space: CacheSpace = "") {
  const holder = machine.admit(space, ids)!;
  machine.advance(holder, ids.length);
  machine.end(holder);
  machine.check();
}

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
    kind: fc.constantFrom("admit", "admit", "advance", "advance", "advance", "end"),
    pick: fc.nat(1000),
    space: fc.constantFrom<CacheSpace>("", "", "key", Symbol("private")),
    /** The text has one of two tokens wherever this has an edit. */
    edits: fc.array(fc.nat(60), { maxLength: 2 }),
    length: fc.integer({ min: 1, max: 64 }),
  });
  let found = 0, evicted = 0;
  fc.assert(
    fc.property(
      fc.integer({ min: 4, max: 14 }),
      fc.array(action, { minLength: 20, maxLength: 80 }),
      (size, actions) => {
        const machine = new Machine(size), { holders, cache } = machine;
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
            else machine.end(holder);
          }
          machine.check();
        }
        for (const holder of [...holders]) machine.end(holder);
        machine.check();
        assert.equal(cache.numAvailable, size);
      },
    ),
    { numRuns: 300 },
  );
  assert.ok(found > 5000 && evicted > 200, `too tame: ${found} tokens found, ${evicted} evictions`);
});
