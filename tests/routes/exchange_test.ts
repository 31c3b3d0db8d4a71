import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { EngineUnavailableError, InvalidRequestError } from "../../engine/errors.ts";
import { createApp } from "../../routes/app.ts";
import { Drain } from "../../routes/drain.ts";
import { Exchange, type ExchangeWatcher, type GenerationRecord } from "../../routes/exchange.ts";
import { Clock } from "./clock.ts";
import { FakeEngine, type Script } from "./fake_engine.ts";
import { get } from "./requests.ts";

const PROMPT = { kind: "text", text: "xyz", parseSpecial: false } as const;

/** An exchange that keeps what its watchers are told. */
function open(clock = new Clock()) {
  const records: GenerationRecord[] = [];
  const intervals: (number | undefined)[] = [];
  let ends = 0;
  const watcher: ExchangeWatcher = {
    event: (_, event, intervalMs) => event.kind === "token" && intervals.push(intervalMs),
    generated: (_, record) => records.push(record),
    ended: () => ends++,
  };
  const options = { id: "1", method: "POST", path: "/infill", watchers: [watcher], now: clock.now };
  return { exchange: new Exchange(options), records, intervals, ends: () => ends };
}

Deno.test("Exchange.watch() times every sample's tokens on its own, and the first of all from the start", async () => {
  const clock = new Clock(100);
  const engine = new FakeEngine({ tokens: ["a", "b", "c"], beforeToken: (i) => clock.advance(10 * (i + 1)) });
  const { exchange, records, intervals } = open(clock);
  const events = engine.submit({ prompt: PROMPT, n: 2 });
  await Array.fromAsync(exchange.watch(events, new AbortController().signal));
  assert.deepEqual(intervals, [undefined, undefined, 20, 20, 30, 30]);
  assert.deepEqual(records, [{
    outcome: "finished",
    promptTokens: 3,
    completionTokens: 6,
    reasons: ["eos", "eos"],
    timings: { queueMs: 1, promptMs: 20, predictedMs: 50 },
    firstTokenMs: 10,
    totalMs: 60,
  }]);
});

Deno.test("Exchange.watch() tells refused, failed and cancelled apart", async () => {
  const error = new EngineUnavailableError("no", "queue_full");
  const fault = new InvalidRequestError("no", { field: "guided_regex", reason: "invalid_value" });
  const cases = [[0, error, "refused"], [1, error, "failed"], [1, fault, "refused"]] as const;
  for (const [at, error, outcome] of cases) {
    const { exchange, records } = open();
    const events = new FakeEngine({ failure: { at, error } }).submit({ prompt: PROMPT });
    await assert.rejects(Array.fromAsync(exchange.watch(events, new AbortController().signal)));
    assert.equal(records[0]!.outcome, outcome);
  }
  const { exchange, records } = open();
  const left = new AbortController();
  const events = new FakeEngine({ tokens: ["a", "b"] }).submit({ prompt: PROMPT }, left.signal);
  const watched = exchange.watch(events, left.signal);
  await assert.rejects(async () => {
    for await (const event of watched) if (event.kind === "token") left.abort();
  });
  assert.deepEqual([records[0]!.outcome, records[0]!.completionTokens], ["cancelled", 1]);
});

Deno.test("Exchange ends once, when its reply is known and nothing runs any more", async () => {
  const { exchange, ends } = open();
  const gate = Promise.withResolvers<void>();
  const { signal } = new AbortController();
  const slow = new FakeEngine({ admitted: gate.promise }).submit({ prompt: PROMPT });
  const running = Array.fromAsync(exchange.watch(slow, signal));
  await Array.fromAsync(exchange.watch(new FakeEngine().submit({ prompt: PROMPT }), signal));
  assert.equal(ends(), 0);
  exchange.replied(200);
  assert.equal(ends(), 0, "a stream still runs");
  gate.resolve();
  await running;
  assert.equal(ends(), 1);
});

interface Visit {
  readonly script: Script;
  readonly prompts: number;
  readonly n: number;
  readonly stream: boolean;
  /** Reads this much of a stream's body, then leaves. */
  readonly readChunks: number;
}

const visit: fc.Arbitrary<Visit> = fc.record({
  script: fc.record({
    tokens: fc.array(fc.constantFrom("a", "b"), { maxLength: 6 }),
    failure: fc.option(fc.record({ at: fc.nat(4), error: fc.constant(new Error("bug")) }), {
      nil: undefined,
    }),
  }).map(({ tokens, failure }) => failure ? { tokens, failure } : { tokens }),
  prompts: fc.integer({ min: 1, max: 3 }),
  n: fc.integer({ min: 1, max: 2 }),
  stream: fc.boolean(),
  readChunks: fc.nat(8),
});

Deno.test("exchanges leave nothing behind, whatever fails and whoever leaves in whatever order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(visit, { minLength: 1, maxLength: 5 }), async (visits) => {
      const drain = new Drain();
      const engine = new FakeEngine();
      const apiKeys = [{ key: "k", name: "k", concurrency: visits.length }];
      const app = createApp(engine, { apiKeys, drain, reportError: () => {} });
      const headers = { Authorization: "Bearer k", "Content-Type": "application/json" };
      function send(body: object) {
        return app.request("/v1/completions", { method: "POST", headers, body: JSON.stringify(body) });
      }
      await Promise.all(visits.map(async ({ script, prompts, n, stream, readChunks }) => {
        engine.script = script;
        const response = await send({ prompt: Array(prompts).fill("x"), n, stream, max_tokens: 4 });
        const reader = response.body!.getReader();
        for (let i = 0; i < readChunks && !(await reader.read()).done; i++);
        await reader.cancel();
      }));
      for (let turn = 0; turn < 20 && engine.active > 0; turn++) await new Promise((go) => setTimeout(go));
      await new Promise((go) => setTimeout(go));
      assert.deepEqual([engine.active, drain.working], [0, 0]);
      engine.script = {};
      const again = await Promise.all(visits.map(() => send({ prompt: "x" })));
      assert.deepEqual(again.map(({ status }) => status), visits.map(() => 200), "every place is free");
      const { text } = await get(app, "/metrics", headers);
      assert.match(text, /^hyades_http_requests_in_flight 0$/m);
    }),
    { numRuns: 40 },
  );
});
