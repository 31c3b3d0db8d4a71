// The second tier of the prefix cache: blocks that have to give way on the device are parked in host memory.
import assert from "node:assert/strict";
import { Scheduler } from "../../engine/scheduler.ts";
import { packBatch } from "../../engine/batch.ts";
import { numTokensOf } from "../../engine/prefix_search.ts";
import { Sequence } from "../../engine/sequence.ts";
import { compute, Machine, numbers } from "./cache_machine.ts";
import { FAKE_LIMITS, FakeRunner } from "./fake_runner.ts";
import { complete, openFakeEngine, request, textPrompt } from "./fake_model.ts";

/** The second time it is found in the cache. */
function computeTwice(machine: Machine, tokens: number[]) {
  compute(machine, tokens);
  compute(machine, tokens);
}

Deno.test("PrefixCache parks what has to give way, and brings it back for whoever needs it", () => {
  const machine = new Machine(4, 8), { cache } = machine;
  compute(machine, numbers(40));
  compute(machine, numbers(60, 100)); // All four blocks.
  assert.equal(numTokensOf(machine.find("", numbers(40))), 40);
  assert.deepEqual([cache.numParked, cache.numUnused], [3, 4]);
  const back = machine.admit("", numbers(48))!;
  assert.deepEqual(
    [back.computed, back.copying],
    [40, undefined],
    "the third block is copied from where it is",
  );
  const { parks, unparks } = machine.move();
  assert.deepEqual([parks.length, unparks.length], [3, 3]);
  machine.advance(back, 8);
  machine.end(back);
  machine.check();
  assert.deepEqual(
    [numTokensOf(machine.find("", numbers(48))), cache.numParked],
    [48, 3],
    "48 tokens cover 40",
  );
});

Deno.test("PrefixCache forgets what was parked longest ago, ends before beginnings", () => {
  const machine = new Machine(3, 3);
  for (const first of [0, 100, 200]) computeTwice(machine, numbers(33, first));
  const found = () => [0, 100, 200].map((first) => numTokensOf(machine.find("", numbers(33, first))));
  assert.deepEqual(found(), [16, 32, 33]);
  compute(machine, numbers(17, 100));
  assert.deepEqual(found(), [0, 32, 32], "what is brought back stays");
});

Deno.test("PrefixCache parks what nobody wanted again where a slot is free, and in nobody's place", () => {
  const machine = new Machine(4, 4);
  const found = () => [0, 100, 200, 300].map((first) => numTokensOf(machine.find("", numbers(48, first))));
  for (const first of [0, 100, 200, 300, 400, 500]) compute(machine, numbers(48, first));
  assert.deepEqual(
    found(),
    [48, 16, 0, 0],
    "the slots are full with the first two, and those that follow are forgotten",
  );
  computeTwice(machine, numbers(48, 600));
  assert.deepEqual(found(), [48, 16, 0, 0]);
  compute(machine, numbers(48, 700));
  assert.equal(numTokensOf(machine.find("", numbers(48, 600))), 48);
  assert.deepEqual(
    found(),
    [16, 16, 0, 0],
    "what was used twice is parked where another was that was parked longest ago",
  );
});

Deno.test("PrefixCache gives a prompt that nobody wanted again no slots but the free ones, though its end is in one", () => {
  const machine = new Machine(4, 4);
  computeTwice(machine, numbers(48));
  // Parks three blocks that are wanted, and has the fourth slot for its own.
  compute(machine, numbers(64, 100));
  compute(machine, numbers(64, 200));
  const found = () => [0, 100].map((first) => numTokensOf(machine.find("", numbers(48, first))));
  assert.deepEqual(found(), [48, 16], "the beginning takes the slot of what follows it");
  assert.equal(machine.cache.numParked, 4);
});

Deno.test("PrefixCache takes a block that was computed again in the place of the parked one", () => {
  const machine = new Machine(4, 8);
  compute(machine, numbers(32));
  compute(machine, numbers(64, 100));
  compute(machine, numbers(32)); // Its last token is computed, and fills a block that is parked.
  assert.equal(numTokensOf(machine.find("", numbers(32))), 32);
  assert.deepEqual([machine.cache.numParked, machine.cache.numUnused], [2, 4]);
});

Deno.test("PrefixCache leaves a block parked whose sequence loses its place before the step", () => {
  const machine = new Machine(4, 8);
  compute(machine, numbers(33));
  compute(machine, numbers(64, 100));
  const lost = machine.admit("", numbers(33))!;
  assert.equal(machine.cache.moves.unparks.length, 2);
  machine.end(lost);
  const other = machine.admit("", numbers(64, 200))!;
  assert.deepEqual(machine.cache.moves.unparks, [], "its two blocks were needed");
  machine.advance(other, 64);
  machine.check();
  assert.equal(numTokensOf(machine.find("", numbers(33))), 33);
});

Deno.test("PrefixCache can park a block and bring it back in one step", () => {
  const machine = new Machine(6, 8);
  compute(machine, numbers(32));
  const other = machine.admit("", numbers(80, 100))!;
  const back = machine.admit("", numbers(17));
  assert.equal(back, undefined, "there is no room for two more");
  machine.end(other);
  const again = machine.admit("", numbers(33))!;
  const { parks, unparks } = machine.cache.moves;
  const slots = new Set(parks.map(({ slot }) => slot));
  assert.ok(unparks.some(({ slot }) => slots.has(slot)), "one slot is written and read");
  machine.advance(again, 1);
  machine.check();
});

Deno.test("PrefixCache parks nothing of a private space, which is gone with its last sequence", () => {
  const machine = new Machine(4, 8);
  compute(machine, numbers(40), Symbol("request"));
  compute(machine, numbers(64, 100));
  assert.equal(machine.cache.numParked, 0);
});

Deno.test("Scheduler computes a preempted sequence's rows once where its blocks were parked", () => {
  const rowsWith = (numHostBlocks: number) => {
    const limits = { ...FAKE_LIMITS, numBlocks: 8, numHostBlocks };
    const scheduler = new Scheduler(limits), runner = new FakeRunner({ limits });
    const params = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] as [number, number] };
    for (const length of [20, 21, 22]) {
      scheduler.add(new Sequence({ promptIds: numbers(length, length), maxTokens: 60, params }));
    }
    for (let step = scheduler.schedule(); step.length > 0; step = scheduler.schedule()) {
      const { tokenIds } = runner.stepSync(packBatch(step, scheduler.beginMoves()));
      let drawn = 0;
      scheduler.complete(step, step.map(({ draws }) => draws ? [tokenIds[drawn++]] : []), 1);
      for (const { sequence } of step) if (sequence.numGenerated === 60) scheduler.finish(sequence);
      scheduler.places.checkIntegrity();
    }
    assert.ok(scheduler.places.numPreemptions > 0);
    return runner.rows;
  };
  const once = 20 + 21 + 22 + 3 * 59;
  assert.ok(rowsWith(0) > once, "without host memory some are computed twice");
  assert.equal(rowsWith(16), once);
});

Deno.test("LocalEngine counts what it parks, and forgets all of it when a step that moves blocks fails", async () => {
  let failing = false, failed = 0;
  const limits = { numBlocks: 8, numHostBlocks: 64, maxTokens: 128 };
  await using fake = await openFakeEngine({
    limits,
    beforeStep: ({ moves }) => {
      if (!failing || !moves?.unparks.length) return;
      failed++;
      throw new Error("a step that fails");
    },
  });
  const { engine } = fake;
  const ask = (letter: string) => complete(engine, request(textPrompt(letter.repeat(90)), { maxTokens: 4 }));
  const before = await ask("a");
  await ask("b");
  const { parks, unparks, parkedBlocks, hostBlocks } = await engine.stats();
  assert.deepEqual([parks > 0, unparks, parkedBlocks, hostBlocks], [true, 0, parks, 64]);
  const again = await ask("a");
  assert.deepEqual(again.ids, before.ids);
  assert.equal(again.finish.cachedTokens, 89);
  assert.ok((await engine.stats()).unparks > 0);
  failing = true;
  await assert.rejects(ask("b"), /a step that fails/);
  failing = false;
  assert.equal(failed, 1);
  assert.equal((await engine.stats()).parkedBlocks, 0);
  const anew = await ask("a");
  assert.deepEqual(anew.ids, before.ids);
  assert.equal(anew.finish.cachedTokens, 0);
  const { freeBlocks, totalBlocks } = await engine.stats();
  assert.equal(freeBlocks, totalBlocks);
});
