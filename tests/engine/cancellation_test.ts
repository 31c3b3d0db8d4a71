// Requests whose reader leaves, or does not read.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import {
  collect,
  complete,
  completionOf,
  Gate,
  openFakeEngine,
  rejection,
  request,
  textPrompt,
  until,
} from "./fake_model.ts";
import { FAKE_LIMITS } from "./fake_runner.ts";
import { byteIds } from "./tiny_tokenizer.ts";

Deno.test("LocalEngine frees a cancelled request's blocks within one step: queued, in prefill, in decode", async () => {
  const gate = new Gate();
  await using fake = await openFakeEngine({ limits: { maxSequences: 1 }, beforeStep: () => gate.pass() });
  const { engine } = fake;
  const long = { kind: "tokens" as const, ids: byteIds("p".repeat(60)) };
  const running = engine.submit(request(long, { maxTokens: 60 }))[Symbol.asyncIterator]();
  const queued = engine.submit(request(long))[Symbol.asyncIterator]();
  await until(() => gate.waiting === 1);
  await queued.return!();
  assert.deepEqual([(await engine.stats()).waiting, (await engine.stats()).cancelled], [0, 1]);
  await running.next();
  await running.return!(); // Its first chunk is under way.
  assert.equal((await engine.stats()).freeBlocks, FAKE_LIMITS.numBlocks);
  gate.open();
  const controller = new AbortController();
  const decoding = engine.submit(request(long, { maxTokens: 60 }), controller.signal)[Symbol.asyncIterator]();
  for (let i = 0; i < 5; i++) assert.ok(!(await decoding.next()).done);
  controller.abort(new Error("left"));
  assert.equal((await rejection(decoding.next())).message, "left");
  const { freeBlocks, running: still, cancelled } = await engine.stats();
  assert.deepEqual([freeBlocks, still, cancelled], [FAKE_LIMITS.numBlocks, 0, 3]);
});

Deno.test("LocalEngine.submit() with a signal that is aborted already throws its reason and starts nothing", async () => {
  await using fake = await openFakeEngine();
  const events = fake.engine.submit(request(textPrompt("x")), AbortSignal.abort(new Error("gone")));
  assert.equal((await rejection(collect(events))).message, "gone");
  assert.equal(fake.runners[0].steps, 0);
});

Deno.test("LocalEngine serves others while a reader does not read", async () => {
  await using fake = await openFakeEngine();
  const unread = fake.engine.submit(request(textPrompt("slow"), { maxTokens: 90 }));
  assert.equal(
    (await complete(fake.engine, request(textPrompt("quick"), { maxTokens: 100 }))).ids.length,
    100,
  );
  await until(async () => (await fake.engine.stats()).running === 0);
  assert.equal(completionOf(await collect(unread)).ids.length, 90, "nothing of it was lost");
});

Deno.test("LocalEngine survives random requests, aborts and early returns without a leaked block", async () => {
  const one = fc.record({
    length: fc.integer({ min: 1, max: 60 }),
    maxTokens: fc.nat(40),
    n: fc.integer({ min: 1, max: 3 }),
    seed: fc.nat(99),
    readEvents: fc.option(fc.nat(20), { nil: undefined }),
    abort: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(one, { minLength: 1, maxLength: 12 }), async (all) => {
      await using fake = await openFakeEngine({ limits: { numBlocks: 10 } });
      const runs = all.map(async ({ length, maxTokens, n, seed, readEvents, abort }) => {
        const prompt = { kind: "tokens" as const, ids: byteIds("q".repeat(length)) };
        const controller = new AbortController();
        const options = { maxTokens, n, seed, temperature: 1 };
        const events = fake.engine.submit(request(prompt, options), controller.signal);
        let count = 0;
        try {
          for await (const _ of events) {
            if (count++ !== readEvents) continue;
            if (!abort) break;
            controller.abort(new Error("left"));
          }
        } catch (error) {
          assert.equal((error as Error).message, "left");
        }
      });
      await Promise.all(runs);
      const { running, waiting, freeBlocks } = await fake.engine.stats();
      assert.deepEqual([running, waiting, freeBlocks], [0, 0, 10]);
      await new Promise((resolve) => setTimeout(resolve, 1)); // The engine checks its pool when idle.
      assert.equal(fake.engine.state.phase, "ready", "the pool's integrity check must hold");
    }),
    { numRuns: 40 },
  );
});
