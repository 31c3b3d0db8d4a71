// Where states of recurrent layers are kept, and what that spares: prompts that have a beginning in common with others,
// sequences that lose their place, drafts that are wrong.
import assert from "node:assert/strict";
import type { SamplingParams, StepLimits } from "../../kernels/step.ts";
import { packBatch } from "../../engine/batch.ts";
import { Scheduler } from "../../engine/scheduler.ts";
import { Sequence, type SequenceOptions } from "../../engine/sequence.ts";
import { Speculation } from "../../engine/speculation.ts";
import { heldDraws, type ScheduledSequence } from "../../engine/step_budget.ts";
import { FakeRunner, type NextToken } from "./fake_runner.ts";

const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] };
const LIMITS: StepLimits = {
  maxTokens: 1024,
  maxSequences: 4,
  maxSamples: 16,
  maxBlocksPerSequence: 64,
  numBlocks: 256,
  numStateSlots: 16,
};

function text(length: number, from = 0): number[] {
  return Array.from({ length }, (_, i) => (from + i * 7 + Math.floor(i / 10)) % 200);
}

function serve(limits: Partial<StepLimits> = {}, speculation?: Speculation, next?: NextToken) {
  const all = { ...LIMITS, ...limits };
  const scheduler = new Scheduler(all, { speculation });
  const runner = new FakeRunner({ limits: all, ...(next && { next }) });
  /** One step, as the engine makes it. */
  function advance(): readonly ScheduledSequence[] {
    const step = scheduler.schedule();
    if (step.length === 0) return step;
    const { tokenIds } = runner.stepSync(packBatch(step, scheduler.beginMoves()));
    let sample = 0;
    const held = step.map((one) => {
      const first = sample;
      if (one.draws) sample += 1 + one.drafts.length;
      return one.draws ? heldDraws(one, tokenIds.subarray(first, sample)) : [];
    });
    scheduler.complete(step, held, 1);
    for (const { sequence } of step) {
      if (sequence.promptDone && sequence.numGenerated >= sequence.maxTokens) scheduler.finish(sequence);
    }
    scheduler.places.checkIntegrity();
    return step;
  }
  function add(promptIds: readonly number[], options: Partial<SequenceOptions> = {}): Sequence {
    const sequence = new Sequence({ promptIds, maxTokens: 1, params: GREEDY, ...options });
    scheduler.add(sequence);
    return sequence;
  }
  /** Tokens of a prompt that were found, and the rows of each of its steps. */
  function read(promptIds: readonly number[], options: Partial<SequenceOptions> = {}) {
    const sequence = add(promptIds, options), rows: number[] = [];
    while (sequence.state !== "finished") rows.push(...advance().map(({ numTokens }) => numTokens));
    return { found: sequence.numCachedTokens, rows };
  }
  return { scheduler, runner, advance, add, read };
}

Deno.test("Scheduler keeps a state every 256 tokens and before a prompt's last, where steps are cut", () => {
  const { read, scheduler } = serve();
  const long = text(700);
  assert.deepEqual(read(long), { found: 0, rows: [256, 256, 187, 1] });
  assert.equal(scheduler.places.numStateSnapshots, 4, "at 256, 512, 699, and where it ended");
  assert.deepEqual(read(long), { found: 699, rows: [1] });
  assert.equal(read([...long.slice(0, 690), 201]).found, 512);
  assert.equal(read([...long.slice(0, 511), 201]).found, 256);
  assert.equal(read([...long.slice(0, 255), 201]).found, 0);
  assert.deepEqual(read([...long, ...text(5, 90)]), { found: 700, rows: [5] }, "a step more would not pay");
});

Deno.test("Scheduler cuts no rows where a step keeps states within them, and as much is found again", () => {
  const { read, scheduler, runner } = serve({ maxKeptStates: 16 });
  const long = text(700);
  assert.deepEqual(read(long), { found: 0, rows: [700] });
  assert.deepEqual([scheduler.places.numStateSnapshots, runner.keptStates], [4, 3], "and where it ended");
  assert.deepEqual(read(long), { found: 699, rows: [1] });
  assert.equal(read([...long.slice(0, 690), 201]).found, 512);
  assert.equal(read([...long.slice(0, 511), 201]).found, 256);
  const variant = (from: number) => [...text(100, 3), ...text(60, from)];
  assert.deepEqual(read(variant(150)), { found: 0, rows: [160] });
  assert.deepEqual(read(variant(151)), { found: 0, rows: [160] });
  assert.deepEqual(read(variant(152)), { found: 96, rows: [64] });
});

Deno.test("Scheduler keeps the last states within a step's rows where it may not keep all, or has too few slots", () => {
  const cases = [
    { limits: { maxKeptStates: 2 }, kept: 2, found: 0 },
    { limits: { maxKeptStates: 9, numStateSlots: 4 }, kept: 3, found: 512 },
  ];
  for (const { limits, kept, found } of cases) {
    const { read, runner, scheduler } = serve({ ...limits, maxTokens: 1024 });
    assert.deepEqual(read(text(1000)), { found: 0, rows: [1000] });
    assert.equal(runner.keptStates, kept);
    const { places } = scheduler;
    assert.deepEqual(
      [999, 800, 700].map((length) => places.countCached("", [...text(length), 201])),
      [999, 768, found],
    );
    assert.equal(places.numFreeStateSlots, limits.numStateSlots ?? 16);
  }
});

Deno.test("Scheduler keeps what a step under way has kept within its rows when their sequence leaves", () => {
  const { scheduler, runner, add, read } = serve({ maxKeptStates: 16 });
  const leaving = add(text(700)), step = scheduler.schedule();
  runner.stepSync(packBatch(step, scheduler.beginMoves()));
  scheduler.finish(leaving);
  scheduler.places.checkIntegrity();
  scheduler.complete(step, [[]], 1);
  scheduler.places.checkIntegrity();
  assert.deepEqual(read([...text(600), 201]), { found: 512, rows: [89] });
});

Deno.test("Scheduler keeps a state where texts depart from each other, from the second on", () => {
  const { read } = serve();
  const variant = (from: number) => [...text(100), ...text(60, from)];
  assert.deepEqual(read(variant(150)), { found: 0, rows: [159, 1] });
  assert.deepEqual(read(variant(151)), { found: 0, rows: [96, 63, 1] }, "whole blocks of what they share");
  assert.deepEqual(read(variant(152)), { found: 96, rows: [63, 1] });
});

Deno.test("Scheduler keeps nothing of a request whose prompt is not to be cached, and of its samples what they need", () => {
  const { read, scheduler, runner, add, advance } = serve();
  assert.deepEqual(read(text(300), { cacheSpace: Symbol("private") }), { found: 0, rows: [300] });
  assert.deepEqual([scheduler.places.numStateSnapshots, runner.stateCopies], [0, 0]);
  const leader = add(text(300), { cacheSpace: Symbol("private"), leads: true, maxTokens: 3 });
  const follower = add(text(300), { leader, maxTokens: 3 });
  while (advance().length > 0);
  assert.deepEqual([leader.numCachedTokens, follower.numCachedTokens], [0, 299]);
  assert.equal(scheduler.places.numStateSnapshots, 0);
});

Deno.test("Scheduler has who lost its place compute nothing twice, and go on from an older state where the last gave way", () => {
  for (const numStateSlots of [4, 16]) {
    const { scheduler, runner, add, advance } = serve({ maxSequences: 1, numStateSlots });
    const batch = add(text(300), { maxTokens: 20, priority: "batch" });
    while (batch.numGenerated < 10) advance();
    const live = add(text(numStateSlots === 4 ? 600 : 40, 50), { maxTokens: 2 });
    while (advance().length > 0);
    assert.deepEqual([batch.state, live.state], ["finished", "finished"]);
    assert.equal(scheduler.places.numPreemptions, 1);
    const once = 300 + 19 + live.promptLength + 1;
    if (numStateSlots === 16) assert.equal(runner.rows, once);
    else assert.ok(runner.rows > once && runner.rows <= once + 300 + 9, "a state had to give way");
  }
});

/** What followed the last token before, so that drafts are right, but for every fifth token. */
const mostlyRegular: NextToken = (visible) =>
  visible.length % 5 === 0 ? 200 + visible.length : 10 + visible.at(-1)! % 3;

Deno.test("Scheduler takes a wrong draft out of a state again, and computes what was right of it beside the next token", () => {
  function run(speculation?: Speculation) {
    const { add, advance, runner } = serve({}, speculation, mostlyRegular);
    const one = add([10, 11, 12, 10, 11, 12, 10], { maxTokens: 80 });
    let steps = 0, redone = 0;
    while (advance().length > 0) {
      steps++;
      if (one.numToRedo > 0) redone++;
      assert.ok(one.state === "finished" || one.numUncomputed === 1 + one.numToRedo);
    }
    const ids = Array.from({ length: one.numTokens }, (_, i) => one.tokenId(i));
    return { ids, steps, redone, rows: runner.rows };
  }
  const without = run(), having = run(new Speculation({ firstChance: 0.9, redoes: true }));
  assert.deepEqual(having.ids, without.ids);
  assert.ok(having.steps < without.steps && having.redone > 2, JSON.stringify({ ...having, ids: 0 }));
  assert.ok(having.rows > without.rows);
});

Deno.test("Scheduler lets no draft pass a token after which a state is to be kept", () => {
  const { add, advance, scheduler } = serve({}, new Speculation({ firstChance: 1, redoes: true }), () => 10);
  const one = add(new Array(230).fill(10), { maxTokens: 60 });
  let drafted = 0;
  while (one.state !== "finished") {
    for (const { start, numTokens, drafts } of advance()) {
      assert.ok(start >= 256 || start + numTokens <= 256);
      drafted += drafts.length;
    }
  }
  assert.ok(drafted > 20);
  const found = scheduler.places.countCached("", [...new Array(256).fill(10), 11, 12]);
  assert.equal(found, 256);
});
