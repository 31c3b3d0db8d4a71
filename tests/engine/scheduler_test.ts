import assert from "node:assert/strict";
import { packBatch } from "../../engine/batch.ts";
import { Scheduler } from "../../engine/scheduler.ts";
import { type Sequence, type SequenceOptions } from "../../engine/sequence.ts";
import { FAKE_LIMITS, FakeRunner } from "./fake_runner.ts";
import { advance, aloneTokens, finishAll, sequence, tokens } from "./scheduled_runs.ts";

Deno.test("Scheduler mixes decodes with chunks of a new prompt in one step", () => {
  const scheduler = new Scheduler(FAKE_LIMITS), runner = new FakeRunner();
  const [first, second] = [sequence(5, 20), sequence(60, 3)];
  scheduler.add(first);
  advance(scheduler, runner);
  scheduler.add(second);
  const step = scheduler.schedule();
  assert.deepEqual(step.map((s) => [s.sequence, s.numTokens, s.draws]), [[first, 1, true], [
    second,
    5,
    false,
  ]]);
});

Deno.test("Scheduler gives whoever takes a place in a step what its rows had taken of it", () => {
  const limits = { ...FAKE_LIMITS, maxSequences: 2, maxSamples: 2 };
  const scheduler = new Scheduler(limits), runner = new FakeRunner({ limits });
  for (let i = 0; i < 2; i++) scheduler.add(sequence(4, 50, { flow: { key: "flood", session: "" } }));
  for (let i = 0; i < 4; i++) advance(scheduler, runner);
  const late = sequence(6, 2, { flow: { key: "late", session: "" }, scorePrompt: true });
  scheduler.add(late);
  const step = scheduler.schedule();
  assert.deepEqual(step.map(({ sequence, numTokens }) => [sequence === late, numTokens]), [[false, 1], [
    true,
    1,
  ]]);
});

Deno.test("Scheduler takes nobody's place for a sequence that would have no room in it", () => {
  const limits = { ...FAKE_LIMITS, numBlocks: 8 };
  const scheduler = new Scheduler(limits), runner = new FakeRunner({ limits });
  const flood = [50, 4].map((length) => sequence(length, 20, { flow: { key: "flood", session: "" } }));
  for (const one of flood) scheduler.add(one);
  while (flood.some(({ numGenerated }) => numGenerated === 0)) advance(scheduler, runner);
  scheduler.add(sequence(100, 4, { flow: { key: "late", session: "" } }));
  assert.deepEqual(advance(scheduler, runner), flood);
  assert.equal(scheduler.places.numPreemptions, 0);
  finishAll(scheduler, runner);
});

Deno.test("Scheduler takes as many places for a sequence as give it room, and no more", () => {
  const limits = { ...FAKE_LIMITS, numBlocks: 12 };
  const scheduler = new Scheduler(limits), runner = new FakeRunner({ limits });
  const batch = [20, 21, 22].map((length) => sequence(length, 30, { priority: "batch" }));
  for (const one of batch) scheduler.add(one);
  while (batch.some(({ numGenerated }) => numGenerated === 0)) advance(scheduler, runner);
  const live = sequence(100, 4);
  scheduler.add(live);
  assert.deepEqual(advance(scheduler, runner), [live]);
  assert.deepEqual(batch.map(({ state }) => state), ["running", "waiting", "waiting"]);
  finishAll(scheduler, runner);
});

Deno.test("Scheduler preempts the youngest when blocks run out, and its tokens stay the same", () => {
  const limits = { ...FAKE_LIMITS, numBlocks: 8 };
  const scheduler = new Scheduler(limits), runner = new FakeRunner({ limits });
  const all = [sequence(20, 60), sequence(21, 59), sequence(22, 58)];
  for (const one of all) scheduler.add(one);
  finishAll(scheduler, runner);
  assert.ok(scheduler.places.numPreemptions > 0);
  for (const one of all) assert.deepEqual(tokens(one), aloneTokens(one));
});

Deno.test("Scheduler admits batch work in order of arrival, also past a sequence too big for the free blocks", () => {
  const limits = { ...FAKE_LIMITS, numBlocks: 8 };
  const scheduler = new Scheduler(limits), runner = new FakeRunner({ limits });
  const priority = "batch";
  const [first, big, small] = [
    sequence(40, 20, { priority }),
    sequence(100, 4, { priority }),
    sequence(2, 2, { priority }),
  ];
  for (const one of [first, big, small]) scheduler.add(one);
  const started: Sequence[] = [];
  for (let step = advance(scheduler, runner); step.length > 0; step = advance(scheduler, runner)) {
    for (const one of step) if (!started.includes(one)) started.push(one);
  }
  assert.deepEqual(started, [first, big, small]);
});

Deno.test("Scheduler computes the prompt of a request's samples once", () => {
  const limits = { ...FAKE_LIMITS, maxTokens: 128 };
  const scheduler = new Scheduler(limits), runner = new FakeRunner({ limits });
  const leader = sequence(40, 4);
  const followers = [sequence(40, 4, { leader }), sequence(40, 4, { leader })];
  for (const one of [leader, ...followers]) scheduler.add(one);
  finishAll(scheduler, runner);
  // 40 rows for the leader, the last for each follower, and 3 decodes each: the fourth token is never computed.
  assert.equal(runner.rows, 40 + 2 * 1 + 3 * 3);
  assert.equal(runner.copiedRows, 2 * 7);
  for (const one of [leader, ...followers]) assert.deepEqual(tokens(one), aloneTokens(one));
});

Deno.test("Scheduler computes one token of a prompt that is cached whole, and what follows an edit of another", () => {
  const limits = { ...FAKE_LIMITS, maxTokens: 128 };
  const scheduler = new Scheduler(limits), runner = new FakeRunner({ limits });
  const run = (promptIds: number[], options: Partial<SequenceOptions> = {}) => {
    const one = sequence(0, 1, { promptIds, ...options });
    const before = runner.rows;
    scheduler.add(one);
    finishAll(scheduler, runner);
    assert.deepEqual(tokens(one), aloneTokens(one));
    return [runner.rows - before, one.numCachedTokens];
  };
  const prompt = Array.from({ length: 48 }, (_, i) => i);
  assert.deepEqual(run(prompt), [48, 0]);
  assert.deepEqual(run(prompt), [1, 47]);
  assert.deepEqual(run([...prompt, 7, 8]), [2, 48]);
  assert.deepEqual(run(prompt.toSpliced(20, 0, 99)), [29, 20]);
  assert.deepEqual(run(prompt.slice(0, 21)), [1, 20]);
  assert.deepEqual(run(prompt, { cacheSpace: "another key" }), [48, 0]);
  assert.deepEqual(run(prompt, { cacheSpace: Symbol("uncached") }), [48, 0]);
  assert.deepEqual(run(prompt, { scorePrompt: true, topLogprobs: 0 }), [48, 0], "scores need all rows");
});

Deno.test("Scheduler finds generated tokens again, all but the last, which was never computed", () => {
  const scheduler = new Scheduler(FAKE_LIMITS), runner = new FakeRunner();
  const first = sequence(20, 13);
  scheduler.add(first);
  finishAll(scheduler, runner);
  const accepted = sequence(0, 2, { promptIds: tokens(first) });
  scheduler.add(accepted);
  finishAll(scheduler, runner);
  assert.equal(accepted.numCachedTokens, 32);
});

Deno.test("Scheduler leaves nothing cached of a request with a space of its own", () => {
  const scheduler = new Scheduler(FAKE_LIMITS), runner = new FakeRunner();
  const leader = sequence(40, 4, { cacheSpace: Symbol("private") });
  for (const one of [leader, sequence(40, 4, { leader })]) scheduler.add(one);
  finishAll(scheduler, runner);
  assert.equal(runner.copiedRows, 7, "its samples share all the same");
  assert.deepEqual([scheduler.places.numCachedBlocks, scheduler.places.numFreeBlocks], [
    0,
    scheduler.places.numBlocks,
  ]);
});

Deno.test("Scheduler lets scored prompt rows count as samples, and scores each once", () => {
  const scheduler = new Scheduler(FAKE_LIMITS);
  const runner = new FakeRunner();
  const scored = sequence(50, 2, { scorePrompt: true, topLogprobs: 0 });
  scheduler.add(scored);
  const rows: number[] = [];
  for (;;) {
    const step = scheduler.schedule();
    if (step.length === 0) break;
    const batch = packBatch(step);
    assert.ok(batch.samples.length <= FAKE_LIMITS.maxSamples);
    const { tokenIds } = runner.stepSync(batch);
    const held = step.map(({ draws }) => draws ? [tokenIds[tokenIds.length - 1]] : []);
    scheduler.complete(step, held, 1);
    for (let i = step[0].scoreStart; i < step[0].scoreEnd; i++) {
      rows.push(i);
      assert.equal(batch.samples[i - step[0].scoreStart].target, scored.tokenId(i + 1));
    }
    if (scored.numGenerated === 2) scheduler.finish(scored);
  }
  assert.deepEqual(rows, Array.from({ length: 49 }, (_, i) => i));
});

Deno.test("Scheduler defers a draw whose adjustments do not fit the step, and runs it in the next", () => {
  const scheduler = new Scheduler(FAKE_LIMITS), runner = new FakeRunner();
  const many = Array.from({ length: 3000 }, (_, id) => ({ id: 1000 + id, delta: 1 }));
  const [first, second] = [1, 2].map(() => sequence(3, 4, { adjustments: () => many }));
  scheduler.add(first);
  scheduler.add(second);
  const step = scheduler.schedule();
  assert.deepEqual(step.map((s) => [s.numTokens, s.draws]), [[3, true], [2, false]]);
  for (const { sequence } of step) scheduler.finish(sequence);
  const third = sequence(3, 4, { adjustments: () => many });
  scheduler.add(third);
  finishAll(scheduler, runner);
  assert.equal(third.numGenerated, 4);
});

Deno.test("Scheduler.add() refuses a sequence that the pool can never hold", () => {
  const scheduler = new Scheduler({ ...FAKE_LIMITS, numBlocks: 3 });
  assert.throws(() => scheduler.add(sequence(40, 9)), RangeError);
  scheduler.add(sequence(40, 8));
});

Deno.test("Scheduler.finish() frees the blocks of a shared prompt only with its last sample", () => {
  const scheduler = new Scheduler(FAKE_LIMITS), runner = new FakeRunner();
  const leader = sequence(33, 8);
  const follower = sequence(33, 8, { leader });
  scheduler.add(leader);
  scheduler.add(follower);
  while (follower.state !== "running") advance(scheduler, runner);
  const free = scheduler.places.numFreeBlocks;
  scheduler.finish(leader);
  scheduler.finish(leader);
  assert.equal(scheduler.places.numFreeBlocks, free + 1, "two of its three blocks are shared");
  finishAll(scheduler, runner);
  assert.deepEqual(tokens(follower), aloneTokens(follower));
});
