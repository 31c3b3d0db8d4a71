// Classes, fair shares and the bounds on waiting that docs/scheduling.md states, on a simulated clock of steps.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import type { SamplingParams, StepLimits } from "../../kernels/step.ts";
import type { Flow } from "../../engine/fair_share.ts";
import { PRIORITIES, type Priority } from "../../engine/priority.ts";
import { BACKGROUND_EVERY, PATIENCE_STEPS, Scheduler } from "../../engine/scheduler.ts";
import { Sequence } from "../../engine/sequence.ts";
import { Speculation } from "../../engine/speculation.ts";
import { heldDraws, type ScheduledSequence } from "../../engine/step_budget.ts";
import type { StepPace } from "../../engine/step_pace.ts";

const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] };
const LIMITS: StepLimits = {
  maxTokens: 64,
  maxSequences: 6,
  maxSamples: 6,
  maxBlocksPerSequence: 16,
  numBlocks: 96,
};
/** A quarter of the step's budget. */
const CHUNK = 16;

/** Of a machine on which every row takes long. */
const SLOW: StepPace = { chunkRows: 0, promptRows: 0, backgroundRows: 0 };

let made = 0;

/** No two prompts have anything in common. */
function sequence(
  promptLength: number,
  maxTokens: number,
  priority: Priority = "live",
  flow?: Partial<Flow>,
) {
  const promptIds = [made++, ...new Array(promptLength - 1).fill(0)];
  return new Sequence({
    ...{ promptIds, maxTokens, params: GREEDY, priority },
    flow: { key: "", session: "", ...flow },
  });
}

/** A step without a model, whose every token is the same, so that drafts are right. */
function advance(scheduler: Scheduler, pace?: StepPace): readonly ScheduledSequence[] {
  const step = scheduler.schedule(pace);
  end(scheduler, step);
  return step;
}

function end(scheduler: Scheduler, step: readonly ScheduledSequence[]) {
  scheduler.complete(step, step.map((one) => one.draws ? heldDraws(one, new Uint8Array(16)) : []), 1);
  for (const { sequence } of step) {
    if (sequence.promptDone && sequence.numGenerated >= sequence.maxTokens) scheduler.finish(sequence);
  }
}

function rowsOf(step: readonly ScheduledSequence[], wanted: (sequence: Sequence) => boolean): number {
  return step.reduce((sum, { sequence, numTokens }) => sum + (wanted(sequence) ? numTokens : 0), 0);
}

Deno.test("Scheduler serves the classes in order, whoever came first", () => {
  const scheduler = new Scheduler({ ...LIMITS, maxSequences: 1 });
  const started: Sequence[] = [];
  for (const priority of PRIORITIES.toReversed()) scheduler.add(sequence(8, 2, priority));
  for (let step = advance(scheduler); step.length > 0; step = advance(scheduler)) {
    for (const { sequence } of step) if (!started.includes(sequence)) started.push(sequence);
  }
  assert.deepEqual(started.map(({ rank }) => rank), [0, 1, 2, 3]);
});

Deno.test("Scheduler gives live work a place at once, the youngest batch sequence's, and ends both", () => {
  const scheduler = new Scheduler({ ...LIMITS, maxSequences: 2 });
  const batch = [1, 2].map(() => sequence(10, 30, "batch"));
  for (const one of batch) scheduler.add(one);
  advance(scheduler);
  const live = sequence(10, 3);
  scheduler.add(live);
  assert.ok(advance(scheduler).some(({ sequence }) => sequence === live));
  assert.deepEqual([batch[0].state, batch[1].state], ["running", "waiting"]);
  while (advance(scheduler).length > 0) scheduler.places.checkIntegrity();
  for (const one of [...batch, live]) assert.equal(one.numGenerated, one.maxTokens);
});

Deno.test("Scheduler takes the blocks that a live sequence lacks from batch work before older live work", () => {
  const scheduler = new Scheduler({ ...LIMITS, maxBlocksPerSequence: 15, numBlocks: 15 });
  const batch = sequence(100, 60, "batch"), live = sequence(100, 40);
  scheduler.add(batch);
  for (let i = 0; i < 8; i++) advance(scheduler);
  scheduler.add(live);
  while (live.state !== "finished") {
    const step = advance(scheduler);
    assert.ok(step.some(({ sequence }) => sequence === live), "it was never the one to go");
    scheduler.places.checkIntegrity();
  }
  assert.ok(scheduler.places.numPreemptions > 0);
  while (advance(scheduler).length > 0);
  assert.equal(batch.numGenerated, 60);
});

Deno.test("Scheduler gives all decodes of live work a row in every step, however long a prompt is read", () => {
  const scheduler = new Scheduler(LIMITS);
  const typing = [1, 2, 3].map(() => sequence(4, 40));
  for (const one of typing) scheduler.add(one);
  while (typing.some(({ numGenerated }) => numGenerated === 0)) advance(scheduler);
  scheduler.add(sequence(200, 4));
  scheduler.add(sequence(200, 4, "batch"));
  while (typing[0].state !== "finished") {
    const step = advance(scheduler);
    for (const one of typing) assert.equal(rowsOf(step, (sequence) => sequence === one), 1);
    assert.ok(rowsOf(step, (sequence) => !typing.includes(sequence)) <= CHUNK + 1);
  }
});

Deno.test("Scheduler leaves other classes a sixteenth of a chunk of every eighth step beside live work, and a chunk without", () => {
  const scheduler = new Scheduler(LIMITS);
  const batch = [1, 2].map(() => sequence(200, 4, "batch")), live = sequence(10, 20);
  for (const one of batch) scheduler.add(one);
  assert.equal(rowsOf(advance(scheduler), ({ rank }) => rank > 0), CHUNK);
  scheduler.add(live);
  const rows: number[] = [];
  while (live.state !== "finished") rows.push(rowsOf(advance(scheduler), ({ rank }) => rank > 0));
  assert.equal(Math.max(...rows), 1);
  assert.equal(rows.reduce((sum, count) => sum + count, 0), Math.floor((rows.length + 1) / BACKGROUND_EVERY));
});

Deno.test("Scheduler gives keys that want more than there is equal tokens, and sessions within a key", () => {
  const scheduler = new Scheduler(LIMITS);
  const keep = sequence(4, 200);
  scheduler.add(keep); // A decode, so that prompts come in chunks.
  advance(scheduler);
  const flows = [["a", "1", 6], ["a", "2", 2], ["b", "1", 2]] as const;
  for (const [key, session, count] of flows) {
    for (let i = 0; i < count; i++) scheduler.add(sequence(100, 1, "live", { key, session }));
  }
  const given = new Map<string, number>();
  for (let i = 0; i < 24; i++) {
    for (const { sequence: { flow }, sequence, numTokens } of advance(scheduler)) {
      if (sequence === keep) continue;
      const name = flow.key + flow.session;
      given.set(name, (given.get(name) ?? 0) + numTokens);
    }
  }
  const [a1, a2, b1] = ["a1", "a2", "b1"].map((name) => given.get(name) ?? 0);
  assert.ok(Math.abs(a1 + a2 - b1) <= 2 * CHUNK, `keys: ${a1 + a2} and ${b1}`);
  assert.ok(Math.abs(a1 - a2) <= 2 * CHUNK, `sessions: ${a1} and ${a2}`);
});

Deno.test("Scheduler serves of a key's live work first what needs least for its next token, cached tokens aside", () => {
  const scheduler = new Scheduler(LIMITS);
  const sample = (promptIds: number[], priority: Priority) =>
    new Sequence({ promptIds, maxTokens: 1, params: GREEDY, priority });
  const file = Array.from({ length: 120 }, (_, index) => index + 1000);
  scheduler.add(sample(file, "live"));
  while (advance(scheduler).length > 0);
  for (const priority of ["live", "batch"] as const) {
    const [long, middle, edit] = [
      sequence(100, 1, priority),
      sequence(90, 1, priority),
      sample([...file, 1], priority),
    ];
    const ended: Sequence[] = [];
    for (const one of [long, middle, edit]) scheduler.add(one);
    while (advance(scheduler).length > 0) {
      ended.push(...[long, middle, edit].filter((one) => one.state === "finished" && !ended.includes(one)));
    }
    assert.deepEqual(
      ended.map(({ arrival }) => arrival),
      (priority === "live" ? [edit, middle, long] : [long, middle, edit]).map(({ arrival }) => arrival),
    );
  }
});

Deno.test("Scheduler keeps steps as short as it is told to, and no shorter than its bounds need", () => {
  const scheduler = new Scheduler(LIMITS);
  const rows = (pace: StepPace) => rowsOf(advance(scheduler, pace), () => true);
  for (let i = 0; i < 4; i++) scheduler.add(sequence(100, 4, "batch"));
  assert.deepEqual([6, 0, 20].map((most) => rows({ ...SLOW, backgroundRows: most })), [6, 1, CHUNK]);
  scheduler.add(sequence(200, 4));
  assert.deepEqual([40, 0].map((most) => rows({ ...SLOW, promptRows: most })), [40, CHUNK / 4]);
  const typing = sequence(2, 40);
  scheduler.add(typing);
  while (typing.numGenerated === 0) advance(scheduler, SLOW);
  const live = (pace: StepPace) => rowsOf(advance(scheduler, pace), ({ rank }) => rank === 0);
  const chunks = [64, 12, 0].map((most) => live({ ...SLOW, chunkRows: most }));
  assert.deepEqual(chunks, [CHUNK, 12, 1 + CHUNK / 4]);
});

Deno.test("Scheduler goes on with all batch decodes, some at a time, while its steps must be short", () => {
  const scheduler = new Scheduler(LIMITS);
  const batch = [1, 2, 3, 4, 5].map(() => sequence(4, 12, "batch"));
  for (const one of batch) scheduler.add(one);
  for (let i = 0; i < 200 && batch.some(({ state }) => state !== "finished"); i++) {
    assert.ok(rowsOf(advance(scheduler, { ...SLOW, backgroundRows: 2 }), () => true) <= 2);
  }
  assert.ok(batch.every(({ numGenerated }) => numGenerated === 12));
});

Deno.test("Scheduler gives a key that comes late a place of the key that has most", () => {
  const scheduler = new Scheduler(LIMITS);
  for (let i = 0; i < 12; i++) scheduler.add(sequence(4, 100, "live", { key: "flood" }));
  advance(scheduler);
  const late = [1, 2, 3, 4].map(() => sequence(4, 100, "live", { key: "late" }));
  for (const one of late) scheduler.add(one);
  for (let i = 0; i < 6; i++) advance(scheduler);
  assert.equal(scheduler.places.running.filter(({ flow }) => flow.key === "late").length, 3);
  const before = scheduler.places.numPreemptions;
  for (let i = 0; i < 20; i++) advance(scheduler);
  assert.equal(scheduler.places.numPreemptions, before, "half and half is not fought over");
});

Deno.test("Scheduler lets a key that comes late have blocks of the key that has most, also while steps go ahead", () => {
  // What four have grown to leaves too few for the fifth, and enough for them to go ahead for long.
  const scheduler = new Scheduler({ ...LIMITS, numBlocks: 38 }, { goesAhead: true });
  for (let i = 0; i < 4; i++) scheduler.add(sequence(70, 150, "live", { key: "flood" }));
  let ahead: ScheduledSequence[] | undefined, numAhead = 0;
  function advanceAhead(): readonly ScheduledSequence[] {
    const step = ahead ?? scheduler.schedule();
    ahead = scheduler.scheduleAhead(step);
    if (ahead) numAhead++;
    end(scheduler, step);
    return step;
  }
  for (let i = 0; i < 25; i++) advanceAhead();
  assert.ok(numAhead > 20, `${numAhead} of 25 steps began ahead`);
  const late = sequence(200, 10, "live", { key: "late" });
  scheduler.add(late);
  const began = [1, 2].findIndex(() => advanceAhead().some(({ sequence }) => sequence === late));
  assert.equal(began, 1, "with the first step that had not begun when it came");
});

const arrival = fc.record({
  priority: fc.oneof(
    { weight: 3, arbitrary: fc.constant("live" as const) },
    fc.constantFrom(...PRIORITIES),
  ),
  key: fc.constantFrom("a", "b", "c", "d"),
  session: fc.constantFrom("1", "2"),
  promptLength: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 60, max: 180 })),
  maxTokens: fc.oneof(fc.nat(6), fc.integer({ min: 20, max: 70 })),
  afterSteps: fc.oneof(fc.constant(0), fc.nat(12)),
});
const traces = fc.record({
  arrivals: fc.array(arrival, { minLength: 3, maxLength: 24 }),
  speculates: fc.boolean(),
  /** Steps begin before the one under way is complete, where they can. */
  ahead: fc.boolean(),
});
type Trace = typeof traces extends { generate(...args: never[]): { value: infer T } } ? T : never;

interface Watched {
  readonly sequence: Sequence;
  readonly addedAt: number;
  /** Steps until its first row. */
  wait?: number;
  /** Before that, more live work of its key came. */
  joined?: boolean;
  readonly bound: number;
}

/** Runs a trace to its end. @returns what arrived, with how long it waited and might have */
function simulate(
  { arrivals, speculates, ahead }: Trace,
  limits: StepLimits,
  bound: (sequence: Sequence, others: readonly Sequence[]) => number,
): Watched[] {
  const scheduler = new Scheduler(
    limits,
    { goesAhead: ahead, ...(speculates && { speculation: new Speculation({ firstChance: 1 }) }) },
  );
  const all: Watched[] = [];
  let step = 0, begun: readonly ScheduledSequence[] | undefined;
  function tick() {
    step++;
    const took = begun ?? scheduler.schedule();
    begun = ahead ? scheduler.scheduleAhead(took) : undefined;
    end(scheduler, took);
    for (const one of all) {
      if (one.wait === undefined && took.some(({ sequence }) => sequence === one.sequence)) {
        one.wait = step - one.addedAt;
      }
    }
    return took.length > 0;
  }
  for (const { priority, key, session, promptLength, maxTokens, afterSteps } of arrivals) {
    for (let i = 0; i < afterSteps; i++) tick();
    const one = sequence(promptLength, maxTokens, priority, { key, session });
    const unfinished = all.map(({ sequence }) => sequence).filter(({ state }) => state !== "finished");
    scheduler.add(one);
    for (const other of all) {
      if (other.wait === undefined && one.rank === 0 && other.sequence.flow.key === key) other.joined = true;
    }
    all.push({ sequence: one, addedAt: step + (begun ? 1 : 0), bound: bound(one, unfinished) });
  }
  for (let i = 0; tick(); i++) assert.ok(i < 20_000, "it never ends");
  scheduler.places.checkIntegrity();
  assert.equal(scheduler.places.numFreeBlocks, limits.numBlocks);
  return all;
}

Deno.test("Scheduler lets nobody wait longer than for the work of all who came before, one after the other", () => {
  const limits = fc.record({
    maxTokens: fc.integer({ min: 8, max: 64 }),
    maxSequences: fc.integer({ min: 1, max: 6 }),
    maxSamples: fc.constant(8),
    maxBlocksPerSequence: fc.constant(16),
    numBlocks: fc.integer({ min: 16, max: 40 }),
  });
  let longest = 0;
  fc.assert(
    fc.property(traces, limits, (trace, limits) => {
      const share = Math.ceil(Math.ceil(limits.maxTokens / 4) / 4);
      const rows = Math.min(share, limits.maxTokens - limits.maxSequences + 1);
      const alone = ({ promptLength, maxTokens }: Sequence) =>
        Math.ceil((promptLength + maxTokens) / rows) + maxTokens + 1;
      const bound = (_: Sequence, older: readonly Sequence[]) =>
        PATIENCE_STEPS + 1 + BACKGROUND_EVERY * (1 + older.reduce((sum, one) => sum + alone(one), 0));
      for (const { wait, bound: most } of simulate(trace, limits, bound)) {
        assert.ok(wait! <= most, `waited ${wait} steps, ${most} are stated`);
        longest = Math.max(longest, wait!);
      }
    }),
    { numRuns: 2000 },
  );
  assert.ok(longest > PATIENCE_STEPS, `too tame: the longest wait was ${longest} steps`);
});

Deno.test("Scheduler starts the live work of a key that has no other within as many steps as there are keys", () => {
  let checked = 0, longest = 0;
  fc.assert(
    fc.property(traces, (trace) => {
      const keys = new Set(
        trace.arrivals.filter(({ priority }) => priority === "live").map(({ key }) => key),
      ).size;
      const bound = ({ rank, flow }: Sequence, others: readonly Sequence[]) => {
        const first = others.every((one) => one.rank > 0 || one.flow.key !== flow.key);
        return rank === 0 && first ? keys : Infinity;
      };
      for (const { wait, joined, bound: most } of simulate(trace, LIMITS, bound)) {
        if (most === Infinity || joined) continue;
        assert.ok(wait! <= most, `waited ${wait} steps, ${most} are stated`);
        checked++;
        longest = Math.max(longest, wait!);
      }
    }),
    { numRuns: 2000 },
  );
  assert.ok(checked > 3000 && longest > 1, `too tame: ${checked} waits, the longest ${longest} steps`);
});

Deno.test("Scheduler lets a key's first live sequence wait for one chunk of every other key, also beside the oldest's turns", () => {
  const limits = { ...LIMITS, maxSequences: 16, maxSamples: 16, maxBlocksPerSequence: 512, numBlocks: 8192 };
  for (const others of [1, 3, 10]) {
    for (let phase = 0; phase < BACKGROUND_EVERY; phase++) {
      const scheduler = new Scheduler(limits);
      // The oldest is read for so long that it gets old; what decodes beside it makes prompts come in chunks.
      scheduler.add(sequence(4000, 1, "live", { key: "oldest" }));
      scheduler.add(sequence(1, 2000, "live", { key: "oldest" }));
      for (let i = 0; i < others; i++) scheduler.add(sequence(4000, 1, "live", { key: `other ${i}` }));
      for (let i = 0; i < PATIENCE_STEPS + 8 + phase; i++) advance(scheduler);
      const newcomer = sequence(8, 1, "live", { key: "newcomer" });
      scheduler.add(newcomer);
      let waited = 1;
      while (!advance(scheduler).some(({ sequence }) => sequence === newcomer)) waited++;
      assert.ok(waited <= others + 2, `waited ${waited} steps for ${others + 1} other keys`);
    }
  }
});
