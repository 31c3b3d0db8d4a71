// Models whose layers keep a state of a sequence: each that runs has a slot, others go on from states that were kept, and
// all else is as with other models. The runner refuses rows that do not follow what their slot holds.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { EngineUnavailableError } from "../../engine/errors.ts";
import type { LocalEngine, LocalEngineOptions } from "../../engine/local_engine.ts";
import type { GenerationRequest } from "../../engine/request.ts";
import {
  collect,
  complete,
  completionOf,
  Gate,
  openFakeEngine,
  request,
  textPrompt,
  until,
} from "./fake_model.ts";
import type { FakeRunnerOptions } from "./fake_runner.ts";
import { byteIds } from "./tiny_tokenizer.ts";

const STATES = { numStateSlots: 4 };

function openWithStates(runner: FakeRunnerOptions = {}, options: Partial<LocalEngineOptions> = {}) {
  return openFakeEngine({ ...runner, limits: { ...STATES, ...runner.limits } }, {
    typeThrough: false,
    ...options,
  });
}

/** Nobody holds anything. */
async function assertAllFree(engine: LocalEngine) {
  const stats = await engine.stats();
  assert.deepEqual([stats.running, stats.waiting], [0, 0]);
  assert.deepEqual([stats.freeBlocks, stats.freeStateSlots], [stats.totalBlocks, stats.totalStateSlots]);
  await new Promise((resolve) => setTimeout(resolve, 1)); // The engine checks its pools when idle.
  assert.equal(engine.state.phase, "ready", "the pools' integrity check must hold");
}

/** Ragged requests, their prompts mostly beginnings of one another. */
const RAGGED: readonly GenerationRequest[] = Array.from(
  { length: 20 },
  (_, i) =>
    request({ kind: "tokens", ids: byteIds("def f(x): return x + y * z".repeat(3).slice(0, 1 + 3 * i)) }, {
      maxTokens: 1 + 17 * i % 60,
      temperature: i % 2,
      seed: i,
      ...(i % 3 === 0 && { ignoreEos: false, stop: ["a", "e"] }),
      ...(i % 5 === 0 && { presencePenalty: 1 }),
      ...(i % 6 === 0 && { n: 3 }),
    }),
);

async function answers(requests: readonly GenerationRequest[], options: FakeRunnerOptions) {
  await using fake = await openFakeEngine(options, { typeThrough: false });
  const replies = await Promise.all(requests.map((one) => collect(fake.engine.submit(one))));
  const ids = replies.map((events, i) =>
    Array.from({ length: requests[i].n ?? 1 }, (_, sample) => completionOf(events, sample).ids)
  );
  if (fake.engine.model.states) await assertAllFree(fake.engine);
  const { preemptions, cachedTokens } = await fake.engine.stats();
  return { ids, preemptions, cachedTokens, ahead: fake.runners[0].ahead };
}

Deno.test("LocalEngine gives the same tokens with states as without, one or two steps in flight, slots or blocks scarce", async () => {
  const room = { maxTokens: 64, maxSequences: 16, maxSamples: 16, numBlocks: 200 };
  const { ids } = await answers(RAGGED, { limits: room });
  for (const stepsInFlight of [1, 2]) {
    const ample = await answers(RAGGED, { limits: { ...room, numStateSlots: 16 }, stepsInFlight });
    assert.deepEqual(ample.ids, ids);
    if (stepsInFlight === 2) assert.ok(ample.ahead > 10, `${ample.ahead} steps began ahead`);
    assert.ok(ample.cachedTokens > 50, `${ample.cachedTokens} tokens were cached`);
    const fewSlots = await answers(RAGGED, { limits: { ...room, numStateSlots: 2 }, stepsInFlight });
    assert.deepEqual(fewSlots.ids, ids);
    const fewBlocks = await answers(RAGGED, {
      limits: { ...room, numStateSlots: 16, numBlocks: 8 },
      stepsInFlight,
    });
    assert.deepEqual(fewBlocks.ids, ids);
    assert.ok(fewBlocks.preemptions > 0, "blocks were not scarce");
  }
});

Deno.test("LocalEngine has no more sequences run than there are state slots", async () => {
  const sizes: number[] = [];
  await using fake = await openWithStates({
    limits: { numStateSlots: 2 },
    beforeStep: ({ stateSlots }) => void sizes.push(stateSlots!.length),
  });
  await Promise.all(RAGGED.slice(0, 6).map((one) => collect(fake.engine.submit(one))));
  assert.equal(Math.max(...sizes), 2);
});

Deno.test("LocalEngine gives live work the place of batch work, which goes on from the state that it left", async () => {
  const long = request(textPrompt("a long prompt of batch work"), { maxTokens: 40, priority: "batch" });
  const short = request(textPrompt("live"), { maxTokens: 3 });
  await using alone = await openWithStates();
  const expected = [await complete(alone.engine, long), await complete(alone.engine, short)];
  for (const numStateSlots of [1, 2]) {
    const told: string[] = [];
    await using fake = await openWithStates({ limits: { numStateSlots, maxSequences: 1 } });
    const events = fake.engine.submit(long)[Symbol.asyncIterator]();
    await events.next(); // The prompt.
    await events.next(); // A token: it decodes.
    const live = complete(fake.engine, short).finally(() => told.push("live"));
    const batch = (async () => {
      while (!(await events.next()).done);
      told.push("batch");
    })();
    assert.deepEqual((await live).ids, expected[1].ids);
    await batch;
    assert.deepEqual(told, ["live", "batch"]);
    assert.equal((await fake.engine.stats()).preemptions, 1);
    const { computedTokens } = await fake.engine.stats(), once = 27 + 39 + 4 + 2;
    if (numStateSlots === 1) assert.ok(computedTokens >= once + 27, "its only slot was taken");
    else assert.equal(computedTokens, once, "no row is computed twice");
    assert.deepEqual((await complete(fake.engine, long)).ids, expected[0].ids);
    await assertAllFree(fake.engine);
  }
});

Deno.test("LocalEngine computes a prompt once for all its samples, which begin with copies of its state", async () => {
  await using fake = await openWithStates({ limits: { maxTokens: 128, numStateSlots: 8 } });
  const { engine, runners: [runner] } = fake;
  const prompt = { kind: "tokens" as const, ids: byteIds("p".repeat(30)) };
  for (const cachePrompt of [false, true]) {
    const [rows, copies] = [runner.rows, runner.stateCopies];
    const samples = await collect(engine.submit(request(prompt, { n: 3, maxTokens: 4, cachePrompt })));
    assert.equal(runner.rows - rows, 30 + 3 + 2 * (1 + 3));
    assert.equal(runner.stateCopies - copies, 3, "one is kept, two begin with it");
    for (const sample of [1, 2]) {
      assert.deepEqual(completionOf(samples, sample).ids, completionOf(samples).ids);
    }
    assert.equal(completionOf(samples).finish.cachedTokens, 0);
    await assertAllFree(engine);
  }
  const { cachedBlocks, stateSnapshots } = await engine.stats();
  assert.ok(
    cachedBlocks > 0 && stateSnapshots === 2,
    "before the prompt's last token, and at the samples' end",
  );
  const again = completionOf(await collect(engine.submit(request(prompt, { maxTokens: 4 }))));
  assert.equal(again.finish.cachedTokens, 29);
});

Deno.test("LocalEngine finds a text again with its completion, and all of a prompt whose client left before its end", async () => {
  const gate = new Gate();
  let holds = false;
  await using fake = await openWithStates({
    limits: { maxTokens: 16, numStateSlots: 8 },
    beforeStep: () => holds ? gate.pass() : undefined,
    stepsInFlight: 1,
  });
  const { engine, runners: [runner] } = fake;
  const ids = byteIds("a text that somebody writes");
  const first = await complete(engine, request({ kind: "tokens", ids }, { maxTokens: 20 }));
  const accepted = [...ids, ...first.ids, ...byteIds("!")];
  const next = await complete(engine, request({ kind: "tokens", ids: accepted }, { maxTokens: 1 }));
  assert.equal(next.finish.cachedTokens, ids.length + 19, "all but the last token was computed");
  holds = true;
  const long = byteIds("q".repeat(60)), before = runner.rows;
  const leaving = engine.submit(request({ kind: "tokens", ids: long }))[Symbol.asyncIterator]();
  const pending = leaving.next();
  await until(() => gate.waiting === 1);
  gate.openOnce();
  await until(() => gate.waiting === 1 && runner.rows > before);
  const left = leaving.return!();
  holds = false;
  gate.open();
  await Promise.all([pending, left]);
  const again = await complete(engine, request({ kind: "tokens", ids: long }));
  assert.ok(again.finish.cachedTokens! >= 8, "what was read before is not read again");
  await assertAllFree(engine);
});

Deno.test("LocalEngine tells the scores of a prompt before any sample's tokens, with states too", async () => {
  await using fake = await openWithStates({ limits: { maxTokens: 64, maxSamples: 4 } });
  const options = { n: 3, echoPrompt: true, logprobs: 1, maxTokens: 5 };
  const events = await collect(fake.engine.submit(request(textPrompt("twelve bytes"), options)));
  assert.equal(events[0].kind, "prompt");
  assert.equal(events.filter(({ kind }) => kind === "token").length, 15);
});

Deno.test("LocalEngine drafts, and computes ahead of an editor, with states as without, and says that it has them", async () => {
  async function serve(limits: FakeRunnerOptions["limits"]) {
    let now = 0;
    // It repeats its prompt's letters, in steps that take a second: drafts are right, and warm layouts worth their while.
    const next = (visible: readonly number[]) => visible.at(-5);
    await using fake = await openFakeEngine({
      next,
      limits: { maxBlocksPerSequence: 16, numBlocks: 64, ...limits },
      beforeStep: () => void (now += 1000),
      stepsInFlight: 1,
    }, { typeThrough: false, now: () => now });
    const { engine, runners: [runner] } = fake;
    const ids = byteIds("abcdeabcdeabcdeabcde");
    const { ids: drawn } = await complete(engine, request({ kind: "tokens", ids }, { maxTokens: 40 }));
    const { drafts, acceptedTokens } = await engine.stats(), before = runner.rows;
    const prompt = { kind: "infill" as const, prefix: "x = ", suffix: "\nprint(x)\n" };
    const { prompt: { tokenIds } } = await complete(
      engine,
      request(prompt, { maxTokens: 1, requester: { session: "s" } }),
    );
    // What is computed ahead begins when the reply has ended.
    await until(() => runner.rows - before > tokenIds.length);
    await until(async () => (await engine.stats()).running === 0);
    const ahead = runner.rows - before - tokenIds.length;
    return { drawn, drafts, acceptedTokens, ahead, states: engine.model.states };
  }
  const { states: none, ...plain } = await serve({});
  assert.ok(plain.drafts > 0 && plain.acceptedTokens > 20 && plain.ahead > 0);
  assert.equal(none, undefined);
  const { states, ...recurrent } = await serve({ numStateSlots: 8 });
  assert.deepEqual(states, { numSlots: 8, bytes: 512 });
  assert.deepEqual(recurrent.drawn, plain.drawn);
  assert.ok(recurrent.drafts > 0 && recurrent.acceptedTokens > 20 && recurrent.ahead > 0);
});

Deno.test("LocalEngine with states goes on after a step that failed and after a lost device", async () => {
  let failing = false;
  await using fake = await openWithStates({
    beforeStep() {
      if (failing) throw new Error("a broken step");
    },
  });
  const { engine } = fake, wanted = request(textPrompt("some prompt"), { maxTokens: 20 });
  const expected = await complete(engine, wanted);
  failing = true;
  await assert.rejects(complete(engine, wanted), /a broken step/);
  failing = false;
  assert.deepEqual((await complete(engine, wanted)).ids, expected.ids);
  const gate = new Gate();
  await using held = await openWithStates({ limits: { numStateSlots: 1 }, beforeStep: () => gate.pass() });
  const running = collect(held.engine.submit(wanted)), waiting = complete(held.engine, wanted);
  await until(() => gate.waiting === 1);
  gate.open();
  held.runners[0].loseDevice();
  await assert.rejects(running, EngineUnavailableError);
  assert.deepEqual((await waiting).ids, expected.ids);
  for (const one of [engine, held.engine]) await assertAllFree(one);
});

Deno.test("LocalEngine survives random requests, aborts, deadlines and early returns without a leaked state slot", async () => {
  const one = fc.record({
    length: fc.integer({ min: 1, max: 60 }),
    maxTokens: fc.nat(40),
    n: fc.integer({ min: 1, max: 3 }),
    priority: fc.constantFrom("live" as const, "batch" as const),
    promptMs: fc.option(fc.nat(5), { nil: undefined }),
    startsAfterMs: fc.nat(5),
    readEvents: fc.option(fc.nat(20), { nil: undefined }),
    abort: fc.boolean(),
  });
  const sizes = fc.record({
    numStateSlots: fc.integer({ min: 1, max: 9 }),
    numBlocks: fc.integer({ min: 8, max: 14 }),
  });
  // Of so many that start at once and outgrow the blocks two are preempted, however timers fall.
  const outgrowing = {
    ...{ length: 16, maxTokens: 40, n: 1, priority: "live" as const, promptMs: undefined, startsAfterMs: 0 },
    ...{ readEvents: undefined, abort: false },
  };
  const crowds = [4, 5, 6, 7, 8, 9, 10, 11].map((
    size,
  ): [typeof outgrowing[], { numStateSlots: number; numBlocks: number }] => [
    Array(size).fill(outgrowing),
    { numStateSlots: 9, numBlocks: 8 },
  ]);
  let cancelled = 0, preemptions = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(one, { minLength: 1, maxLength: 12 }), sizes, async (all, limits) => {
      let now = 0;
      await using fake = await openWithStates({ limits }, { now: () => now++ / 8 });
      const runs = all.map(
        async ({ length, maxTokens, n, priority, promptMs, startsAfterMs, readEvents, abort }) => {
          await new Promise((resolve) => setTimeout(resolve, startsAfterMs));
          const controller = new AbortController();
          const wanted = request({ kind: "tokens", ids: byteIds("q".repeat(length)) }, {
            ...{ maxTokens, n, priority, temperature: 1 },
            ...(promptMs !== undefined && { deadlines: { promptMs } }),
          });
          let count = 0;
          try {
            for await (const _ of fake.engine.submit(wanted, controller.signal)) {
              if (count++ !== readEvents) continue;
              if (!abort) break;
              controller.abort(new Error("left"));
            }
          } catch (error) {
            assert.match((error as Error).message, /^left$/);
          }
        },
      );
      await Promise.all(runs);
      await assertAllFree(fake.engine);
      const stats = await fake.engine.stats();
      cancelled += stats.cancelled;
      preemptions += stats.preemptions;
    }),
    { numRuns: 68, examples: crowds },
  );
  assert.ok(cancelled > 30 && preemptions > 10, `too tame: ${cancelled} cancelled, ${preemptions} preempted`);
});
