import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { BLOCK_SIZE, type SamplingParams, type StepLimits } from "../../kernels/step.ts";
import { packBatch } from "../../engine/batch.ts";
import { PRIORITIES } from "../../engine/priority.ts";
import {
  BACKGROUND_EVERY,
  PATIENCE_STEPS,
  type ScheduledSequence,
  Scheduler,
} from "../../engine/scheduler.ts";
import { Sequence, type SequenceOptions } from "../../engine/sequence.ts";
import { Speculation } from "../../engine/speculation.ts";
import { heldDraws } from "../../engine/step_budget.ts";
import { testSeed } from "../kernels/random.ts";
import { FAKE_LIMITS, FakeRunner, type NextToken } from "./fake_runner.ts";

const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] };

function sequence(promptLength: number, maxTokens: number, options: Partial<SequenceOptions> = {}): Sequence {
  const promptIds = Array.from({ length: promptLength }, (_, i) => (i * 31 + promptLength) % 300);
  return new Sequence({ promptIds, maxTokens, params: GREEDY, ...options });
}

interface Begun {
  readonly step: readonly ScheduledSequence[];
  readonly tokenIds: Uint32Array;
}

/**
 * Runs one step as the engine does.
 * @param ahead the step that has begun already, if any, and afterwards the one that has begun behind this one, if any
 * @returns the sequences that took part
 */
function advance(scheduler: Scheduler, runner: FakeRunner, ahead?: Begun[]): Sequence[] {
  const begin = (step: readonly ScheduledSequence[]): Begun => ({
    step,
    tokenIds: runner.stepSync(packBatch(step, scheduler.beginMoves())).tokenIds,
  });
  let begun = ahead?.pop();
  if (!begun) {
    const scheduled = scheduler.schedule();
    if (scheduled.length === 0) return [];
    begun = begin(scheduled);
  }
  const { step, tokenIds } = begun;
  const next = ahead && scheduler.scheduleAhead(step);
  if (next) ahead.push(begin(next));
  let sample = 0;
  const held = step.map((scheduled) => {
    const first = sample += scheduled.scoreEnd - scheduled.scoreStart;
    if (scheduled.draws) sample += 1 + scheduled.drafts.length;
    return scheduled.draws ? heldDraws(scheduled, tokenIds.subarray(first, sample)) : [];
  });
  scheduler.complete(step, held, 1);
  for (const { sequence } of step) {
    const done = sequence.promptDone && sequence.numGenerated >= sequence.maxTokens;
    if (done) scheduler.finish(sequence);
  }
  scheduler.places.checkIntegrity();
  return step.map(({ sequence }) => sequence);
}

function finishAll(scheduler: Scheduler, runner: FakeRunner, mostSteps = 5000) {
  for (let i = 0; advance(scheduler, runner).length > 0; i++) assert.ok(i < mostSteps, "it never ends");
  assert.equal(
    scheduler.places.waiting.length + scheduler.places.running.length,
    0,
    "a sequence was left behind",
  );
  assert.equal(scheduler.places.numFreeBlocks, scheduler.places.numBlocks);
}

function tokens(sequence: Sequence): number[] {
  return Array.from({ length: sequence.numTokens }, (_, i) => sequence.tokenId(i));
}

/** What the same sequence yields on a runner of its own, with room to spare. */
function aloneTokens(like: Sequence, next?: NextToken): number[] {
  const limits = {
    maxTokens: 512,
    maxSequences: 1,
    maxSamples: 512,
    maxBlocksPerSequence: 32,
    numBlocks: 32,
  };
  const runner = new FakeRunner({ limits, ...(next && { next }) });
  const scheduler = new Scheduler(runner.limits);
  const { params, maxTokens } = like;
  const alone = new Sequence({ promptIds: tokens(like).slice(0, like.promptLength), params, maxTokens });
  scheduler.add(alone);
  finishAll(scheduler, runner);
  return tokens(alone);
}

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

const arrivals = fc.array(
  fc.record({
    promptLength: fc.integer({ min: 1, max: 60 }),
    /** Prompts are beginnings of one text that has, or has not, an edit here. */
    edit: fc.option(fc.nat(60), { nil: undefined }),
    space: fc.constantFrom("", "other key", undefined),
    maxTokens: fc.oneof(fc.nat(10), fc.integer({ min: 40, max: 68 })),
    numSamples: fc.integer({ min: 1, max: 3 }),
    scorePrompt: fc.boolean(),
    priority: fc.constantFrom(...PRIORITIES),
    flow: fc.record({ key: fc.constantFrom("", "k"), session: fc.constantFrom("", "s") }),
    seed: fc.option(fc.nat(1000), { nil: undefined }),
    atStep: fc.nat(25),
    cancelAfter: fc.option(fc.nat(30), { nil: undefined, freq: 3 }),
  }),
  { minLength: 4, maxLength: 14 },
);
const limits = fc.record({
  maxTokens: fc.integer({ min: 1, max: 40 }),
  maxSequences: fc.integer({ min: 1, max: 6 }),
  maxSamples: fc.integer({ min: 1, max: 12 }),
  maxBlocksPerSequence: fc.constant(8),
  numBlocks: fc.integer({ min: 8, max: 14 }),
  numHostBlocks: fc.constantFrom(0, 1, 3, 10, 50),
});

/** What three tokens before came next, but for every fifth token: drafts are right, and then wrong. */
const repeating: NextToken = (visible) => visible.length % 5 === 0 ? undefined : visible.at(-3);

class CountedDrafts extends Speculation {
  /** Drafts with a wrong one among them. */
  wrong = 0;

  override learn(step: readonly ScheduledSequence[], held: readonly (readonly number[])[], ms: number) {
    super.learn(step, held, ms);
    step.forEach(({ drafts }, index) =>
      this.wrong += held[index].length <= drafts.length && held[index].length > 0 ? 1 : 0
    );
  }
}

/** As `checkRandomWork`, of all runs. */
interface WorkTally {
  readonly seed: number;
  readonly steps: number;
  readonly preemptions: number;
  readonly cancelled: number;
  readonly reused: number;
  readonly copied: number;
  readonly returned: number;
  readonly begunAhead: number;
  readonly keptWithin: number;
  readonly sumsTaken: number;
  /** Drafts with a wrong one among them. */
  readonly wrong: number;
}

/** Random arrivals and cancellations: no block or slot is lost, the oldest goes on, and tokens are those of lone runs. */
function checkRandomWork(limits: fc.Arbitrary<StepLimits>): WorkTally {
  let steps = 0, preemptions = 0, cancelled = 0, reused = 0, copied = 0, returned = 0, begunAhead = 0;
  let keptWithin = 0, sumsTaken = 0, wrong = 0;
  const seed = testSeed();
  fc.assert(
    fc.property(
      arrivals,
      limits,
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      (arrivals, limits, goesAhead, allLive, drafts) => {
        const hasStates = limits.numStateSlots !== undefined;
        const speculation = drafts ? new CountedDrafts({ firstChance: 0.9, redoes: hasStates }) : undefined;
        const next = drafts ? repeating : undefined;
        const scheduler = new Scheduler(limits, { goesAhead, snapshotTokens: 24, speculation });
        const runner = new FakeRunner({
          limits,
          ...(next && { next }),
          ...(hasStates && { online: { window: 32, square: BLOCK_SIZE } }),
        });
        const ahead: Begun[] | undefined = goesAhead ? [] : undefined;
        const all: Sequence[] = [];
        const cancelAt = new Map<Sequence, number>();
        let idle = 0;
        for (let now = 0;; now++) {
          for (const arrival of arrivals.filter(({ atStep }) => atStep === now)) {
            const {
              promptLength,
              edit,
              space,
              maxTokens,
              numSamples,
              scorePrompt,
              seed,
              cancelAfter,
              priority,
              flow,
            } = arrival;
            const promptIds = Array.from({ length: promptLength }, (_, i) => i === edit ? 299 : i * 31 % 300);
            const cacheSpace = space ?? Symbol("of one request");
            let leader: Sequence | undefined;
            for (let k = 0; k < numSamples; k++) {
              const params: SamplingParams = seed === undefined
                ? GREEDY
                : { ...GREEDY, temperature: 1, seed: [seed + k, 0] };
              const one: Sequence = sequence(promptLength, maxTokens, {
                promptIds,
                cacheSpace,
                priority: allLive ? "live" : priority,
                flow,
                params,
                scorePrompt: scorePrompt && !leader,
                ...(leader ? { leader } : { leads: numSamples > 1 }),
              });
              leader ??= one;
              all.push(one);
              scheduler.add(one);
              if (cancelAfter !== undefined && k !== 1) cancelAt.set(one, now + cancelAfter);
            }
          }
          for (const [one, at] of cancelAt) {
            if (at !== now || one.state === "finished") continue;
            scheduler.finish(one);
            cancelled++;
          }
          const [oldest] = [...scheduler.places.running, ...scheduler.places.waiting].sort((a, b) =>
            a.arrival - b.arrival
          );
          const took = advance(scheduler, runner, ahead);
          if (ahead?.length) begunAhead++;
          if (oldest && now - oldest.queuedAt >= PATIENCE_STEPS) {
            idle = took.includes(oldest) ? 0 : idle + 1;
            assert.ok(idle < BACKGROUND_EVERY, "the oldest made no progress");
          }
          steps++;
          if (took.length === 0 && now > 25) break;
        }
        assert.equal(scheduler.places.numFreeBlocks, limits.numBlocks);
        assert.equal(scheduler.places.numFreeStateSlots, limits.numStateSlots ?? 0);
        preemptions += scheduler.places.numPreemptions;
        copied += runner.copiedRows;
        returned += runner.unparks;
        wrong += speculation?.wrong ?? 0;
        keptWithin += runner.keptStates;
        sumsTaken += runner.keptSums?.numTaken ?? 0;
        for (const one of all) {
          assert.equal(one.state, "finished");
          reused += one.numCachedTokens ?? 0;
          const alone = aloneTokens(one, next);
          if (!cancelAt.has(one)) assert.equal(one.numGenerated, one.maxTokens);
          assert.deepEqual(tokens(one), alone.slice(0, one.numTokens));
        }
      },
    ),
    { numRuns: 150, seed },
  );
  return {
    seed,
    steps,
    preemptions,
    cancelled,
    reused,
    copied,
    returned,
    begunAhead,
    keptWithin,
    sumsTaken,
    wrong,
  };
}

/** Rates of what happens by chance are far below what they are as a rule: they say that it does happen. */
function assertNotTame(tally: WorkTally, least: Partial<WorkTally>) {
  for (const [what, bound] of Object.entries(least)) {
    assert.ok(tally[what as keyof WorkTally] > bound, `too tame, ${what}: ${JSON.stringify(tally)}`);
  }
}

Deno.test("Scheduler leaks no block, starves nobody, and gives every sequence the tokens of its lone run", () => {
  assertNotTame(checkRandomWork(limits), {
    ...{
      steps: 3000,
      preemptions: 20,
      cancelled: 50,
      reused: 3000,
      copied: 1000,
      returned: 80,
      begunAhead: 500,
    },
  });
});

Deno.test("Scheduler does so with states too, of few slots, from which others and those who lost their place go on", () => {
  const withStates = fc.tuple(limits, fc.integer({ min: 1, max: 6 }), fc.constantFrom(0, 1, 9)).map(
    ([sizes, numStateSlots, maxKeptStates]) => ({ ...sizes, numStateSlots, maxKeptStates }),
  );
  assertNotTame(checkRandomWork(withStates), {
    ...{
      steps: 3000,
      preemptions: 50,
      cancelled: 50,
      reused: 2000,
      copied: 500,
      returned: 10,
      begunAhead: 300,
    },
    ...{ keptWithin: 100, sumsTaken: 1000, wrong: 100 },
  });
});
