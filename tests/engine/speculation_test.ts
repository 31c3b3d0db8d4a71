// Speculation changes no token: random traces over the fake runner, with and without it. The runner's tokens follow from
// all that a row can see, and it refuses rows and blocks that are not what they should be.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import type { GenerationEvent, GenerationRequest } from "../../engine/request.ts";
import type { SampleRequest } from "../../kernels/step.ts";
import { collect, completionOf, openFakeEngine, request, until, VOCAB_SIZE } from "./fake_model.ts";
import type { FakeRunnerOptions } from "./fake_runner.ts";

/** Mostly what followed the last two tokens before, so that drafts are right, and now and then something else. */
function repetitive(
  visible: readonly number[],
  { params, counter, adjustments = [] }: SampleRequest,
): number {
  const sum = visible.reduce((sum, id, i) => (sum + (i + 1) * (id + 7)) % 1009, 0);
  const [last, before] = [visible.at(-1)!, visible.at(-2) ?? 0];
  const noise = params.temperature > 0 ? params.seed[0] + 31 * counter : 0;
  const bias = adjustments.reduce((sum, { id, delta }) => sum + id + Math.round(10 * delta), 0);
  const regular = 40 + (3 * last + 5 * before + Math.abs(bias)) % 7;
  return (sum + noise) % 11 === 0 ? 40 + (sum + noise) % 200 : regular;
}

/** A clock on which every step takes as long: rows are free, so that whatever may be right is drafted. */
function tickingClock(): () => number {
  let now = 0;
  return () => now++;
}

async function openEngines(runner: FakeRunnerOptions = {}) {
  const open = (speculation: boolean) =>
    openFakeEngine({ next: repetitive, stepsInFlight: 1, ...runner }, {
      speculation,
      typeThrough: false,
      now: tickingClock(),
    });
  const engines = { with: await open(true), without: await open(false) };
  return {
    ...engines,
    async [Symbol.asyncDispose]() {
      await Promise.all([engines.with[Symbol.asyncDispose](), engines.without[Symbol.asyncDispose]()]);
    },
  };
}

/** What must be the same of a request's events: all but times, drafts, and what the cache had. */
function told(events: readonly GenerationEvent[], samples = 1) {
  return Array.from({ length: samples }, (_, sample) => {
    const tokens = events.filter((event) => event.kind === "token").filter((event) =>
      event.sample === sample
    );
    const { reason, text, stopString, completionTokens } = completionOf(events, sample).finish;
    return { tokens, reason, text, stopString, completionTokens };
  });
}

const traced = fc.record({
  ids: fc.array(fc.integer({ min: 40, max: 46 }), { minLength: 1, maxLength: 60 }),
  maxTokens: fc.integer({ min: 0, max: 60 }),
  temperature: fc.constantFrom(0, 0, 1),
  seed: fc.nat(1000),
  n: fc.constantFrom(1, 1, 2, 3),
  logprobs: fc.constantFrom(undefined, undefined, 0, 2),
  echo: fc.boolean(),
  penalty: fc.constantFrom(0, 0, 0.5),
  biased: fc.boolean(),
  stop: fc.constantFrom([], [], ["+("], ["*", ")+"]),
  ends: fc.boolean(),
  salt: fc.constantFrom(undefined, "ann"),
  cached: fc.boolean(),
  priority: fc.constantFrom("live" as const, "live" as const, "batch" as const),
  leavesAfter: fc.constantFrom(undefined, undefined, undefined, 3),
});
type Traced = typeof traced extends { generate(...args: never[]): { value: infer T } } ? T : never;

function requestOf(one: Traced): GenerationRequest {
  return request({ kind: "tokens", ids: one.ids }, {
    maxTokens: one.maxTokens,
    temperature: one.temperature,
    seed: one.seed,
    n: one.n,
    ...(one.logprobs !== undefined && { logprobs: one.logprobs, echoPrompt: one.echo }),
    frequencyPenalty: one.penalty,
    ...(one.biased && { logitBias: [{ id: 41, delta: 0.3 }] }),
    ...(one.stop.length > 0 && { stop: one.stop }),
    ignoreEos: !one.ends,
    ...(one.salt && { cacheSalt: one.salt }),
    cachePrompt: one.cached,
    priority: one.priority,
  });
}

/** @param slots for the states of recurrent layers */
async function checkTraces(slots: fc.Arbitrary<number>, stepsInFlight: number): Promise<void> {
  let drafted = 0, accepted = 0, preemptions = 0, steps = 0, stepsWithout = 0;
  const limits = fc.record({
    maxTokens: fc.integer({ min: 4, max: 40 }),
    maxSequences: fc.integer({ min: 1, max: 4 }),
    maxSamples: fc.integer({ min: 4, max: 24 }),
    numBlocks: fc.integer({ min: 8, max: 12 }),
    numStateSlots: slots,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(traced, { minLength: 1, maxLength: 8 }), limits, async (trace, limits) => {
      await using engines = await openEngines({ limits, vocabSize: VOCAB_SIZE, stepsInFlight });
      const run = (engine: typeof engines.with.engine) =>
        Promise.all(trace.map(async (one) => {
          if (one.leavesAfter === undefined) return told(await collect(engine.submit(requestOf(one))), one.n);
          let left = one.leavesAfter;
          for await (const _ of engine.submit(requestOf(one))) if (--left === 0) break;
          return undefined;
        }));
      assert.deepEqual(await run(engines.with.engine), await run(engines.without.engine));
      await until(async () => (await engines.with.engine.stats()).running === 0);
      const stats = await engines.with.engine.stats();
      assert.equal(stats.freeBlocks, stats.totalBlocks);
      assert.equal(stats.freeStateSlots, stats.totalStateSlots);
      await new Promise((resolve) => setTimeout(resolve, 1)); // The engine checks its pools when idle.
      assert.equal(engines.with.engine.state.phase, "ready");
      assert.ok(stats.acceptedTokens <= stats.draftedTokens && stats.acceptedTokens <= stats.generatedTokens);
      drafted += stats.draftedTokens;
      accepted += stats.acceptedTokens;
      preemptions += stats.preemptions;
      steps += stats.steps;
      stepsWithout += (await engines.without.engine.stats()).steps;
    }),
    { numRuns: 150 },
  );
  console.log(
    `  ${accepted} of ${drafted} drafts were right; ${steps} steps, ${stepsWithout} without; ${preemptions} preemptions`,
  );
  assert.ok(
    accepted > 500 && drafted - accepted > 500 && preemptions > 5 && steps < stepsWithout,
    "too tame",
  );
}

Deno.test("Speculation changes no token, score or end, whatever the requests and however few blocks there are", async () => {
  await checkTraces(fc.constant(0), 1);
});

for (const stepsInFlight of [1, 2]) {
  Deno.test(`Speculation does so where a wrong draft has to be taken out of a state again, ${stepsInFlight} steps in flight`, async () => {
    await checkTraces(fc.integer({ min: 1, max: 12 }), stepsInFlight);
  });
}

Deno.test("Speculation delivers each token as an event of its own, and says in the end what drafts came to", async () => {
  await using engines = await openEngines();
  const asked = request({ kind: "tokens", ids: [40, 41, 42, 43, 40, 41, 42, 43, 40, 41] }, { maxTokens: 60 });
  const events = await collect(engines.with.engine.submit(asked));
  const { ids, finish } = completionOf(events);
  assert.equal(ids.length, 60);
  assert.ok(finish.drafts!.accepted > 5 && finish.drafts!.accepted <= finish.drafts!.drafted);
  const stats = await engines.with.engine.stats();
  const { drafted, accepted } = finish.drafts!;
  assert.deepEqual([stats.draftedTokens, stats.acceptedTokens, stats.generatedTokens], [
    drafted,
    accepted,
    60,
  ]);
  assert.equal(stats.steps, 60 - accepted, "a step for each token but those that a draft had right");
  assert.equal(stats.acceptedByPlace.reduce((a, b) => a + b), accepted);
  assert.ok(stats.drafts >= stats.acceptedByPlace[0] && stats.acceptedByPlace[0] >= stats.acceptedByPlace[1]);
  const off = completionOf(await collect(engines.with.engine.submit({ ...asked, speculation: false })));
  assert.deepEqual([off.ids, off.finish.drafts], [ids, undefined]);
});

Deno.test("Speculation counts nothing that was right but came after the end", async () => {
  const cycle = [50, 51, 52, 53];
  const next = (visible: readonly number[]) => cycle[visible.length % 4];
  await using fake = await openFakeEngine({ next, stepsInFlight: 1 }, {
    typeThrough: false,
    now: tickingClock(),
  });
  const ids = Array.from({ length: 24 }, (_, i) => cycle[i % 4]);
  const asked = request({ kind: "tokens", ids }, { maxTokens: 60 });
  const text = completionOf(await collect(fake.engine.submit({ ...asked, speculation: false }))).text;
  const before = await fake.engine.stats();
  const stopped = completionOf(await collect(fake.engine.submit({ ...asked, stop: [text.slice(6, 8)] })));
  const after = await fake.engine.stats();
  assert.equal(stopped.finish.reason, "stop");
  assert.equal(after.generatedTokens - before.generatedTokens, stopped.ids.length);
  assert.ok(stopped.finish.drafts!.accepted < stopped.ids.length);
  assert.equal(after.acceptedTokens, stopped.finish.drafts!.accepted);
});

Deno.test("Speculation drafts from what others were given, within a salt and never across", async () => {
  const next = (visible: readonly number[]) => 60 + (7 * visible.length + visible[0]) % 150;
  await using fake = await openFakeEngine({ next }, { typeThrough: false, now: tickingClock() });
  const asked = request({ kind: "tokens", ids: [44, 45, 46, 47, 48] }, { maxTokens: 40 });
  const accepted = async (options: Partial<GenerationRequest>) =>
    completionOf(await collect(fake.engine.submit({ ...asked, ...options }))).finish.drafts?.accepted ?? 0;
  assert.equal(await accepted({ cacheSalt: "ann" }), 0);
  assert.equal(await accepted({ cacheSalt: "bob" }), 0);
  assert.equal(await accepted({}), 0);
  assert.equal(await accepted({ cacheSalt: "ann", cachePrompt: false }), 0);
  assert.ok(await accepted({ cacheSalt: "ann" }) > 12);
});

Deno.test("Speculation never drafts a token that ends a generation", async () => {
  const end = 0, cycle = [50, 51, 52, end];
  const seen: number[] = [];
  await using fake = await openFakeEngine({
    next: (visible) => cycle[visible.length % 4],
    beforeStep: ({ tokenIds }) => void seen.push(...tokenIds.subarray(1)),
  }, { typeThrough: false, now: tickingClock() });
  const ids = Array.from({ length: 24 }, (_, i) => cycle[i % 4]);
  const prompted = ids.length;
  const { finish } = completionOf(
    await collect(fake.engine.submit(request({ kind: "tokens", ids }, { maxTokens: 60 }))),
  );
  assert.ok(finish.drafts!.accepted > 10);
  assert.ok(!seen.slice(prompted).includes(end), "after it nothing is wanted");
});
