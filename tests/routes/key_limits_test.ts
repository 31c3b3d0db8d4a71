import assert from "node:assert/strict";
import type { ApiKey, KeyLimitSettings } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { Clock } from "./clock.ts";
import { FakeEngine } from "./fake_engine.ts";
import { assertOpenAiError, get, post, type Reply } from "./requests.ts";

/** An app with the keys "alice", of these limits, and "bob", without any. */
function limited(limits: KeyLimitSettings, engine = new FakeEngine({ tokens: ["a", "b", "c"] })) {
  const clock = new Clock(5000);
  const apiKeys: ApiKey[] = [{ key: "ka", name: "alice", ...limits }, { key: "kb", name: "bob" }];
  const app = createApp(engine, { apiKeys, now: clock.now });
  function complete(key: string, body: object = {}, path = "/v1/completions"): Promise<Reply> {
    const work = { prompt: "12345", input_prefix: "p", input_suffix: "s", ...body };
    return post(app, path, work, { Authorization: `Bearer ${key}` });
  }
  return { app, clock, engine, complete };
}

Deno.test("KeyLimits charges prompt and completion, refuses a key in debt, and lets it in when that is paid", async () => {
  const { clock, complete } = limited({ tokensPerMinute: 60 });
  for (let used = 0; used < 64; used += 8) assert.equal((await complete("ka")).status, 200);
  const refused = await complete("ka"); // 64 of 60 are used: 5 more at one a second, for a single token.
  assertOpenAiError(refused, 429, {
    type: "rate_limit_exceeded",
    code: "rate_limit_exceeded",
    message: 'The key "alice" may use 60 tokens a minute: try again in 5 s',
  });
  assert.equal(refused.headers.get("retry-after"), "5");
  assert.equal((await complete("kb")).status, 200, "others go on");
  clock.advance(4999);
  assert.equal((await complete("ka")).status, 429);
  clock.advance(1);
  assert.equal((await complete("ka")).status, 200);
});

Deno.test("KeyLimits tells how much is left in OpenAI's headers, on errors too, where there is a limit", async () => {
  const { clock, complete } = limited({ tokensPerMinute: 600 });
  function rates({ headers }: Reply) {
    return ["limit", "remaining", "reset"].map((name) => headers.get(`x-ratelimit-${name}-tokens`));
  }
  assert.deepEqual(rates(await complete("ka")), ["600", "592", "800ms"]);
  assert.deepEqual(rates(await complete("ka", { max_tokens: -1 })), ["600", "592", "800ms"]);
  clock.advance(800);
  await complete("ka", { prompt: "x".repeat(700) });
  assert.deepEqual(rates(await complete("ka")), ["600", "0", "1m11s"], "103 in debt");
  assert.deepEqual(rates(await complete("kb")), [null, null, null]);
});

Deno.test("KeyLimits charges a stream while it runs", async () => {
  const { app, complete } = limited({ tokensPerMinute: 7 });
  const response = await app.request("/v1/completions", {
    method: "POST",
    headers: { Authorization: "Bearer ka", "Content-Type": "application/json" },
    body: '{"prompt":"12345","stream":true}',
  });
  assert.equal(response.headers.get("x-ratelimit-limit-tokens"), "7");
  await response.text();
  assert.equal((await complete("ka")).status, 429);
});

Deno.test("KeyLimits lets so many requests of a key run at once, and the next when one has ended", async () => {
  const gate = Promise.withResolvers<void>();
  const { complete, engine } = limited({ concurrency: 2 }, new FakeEngine({ admitted: gate.promise }));
  const running = [complete("ka"), complete("ka", {}, "/infill")];
  await new Promise((resolve) => setTimeout(resolve));
  const refused = await complete("ka", { stream: true });
  assertOpenAiError(refused, 429, {
    code: "rate_limit_exceeded",
    message: 'The key "alice" may have at most 2 requests at once: wait for one to end',
  });
  assert.equal(refused.headers.get("retry-after"), "1");
  const other = complete("kb");
  gate.resolve();
  assert.deepEqual((await Promise.all([...running, other])).map(({ status }) => status), [200, 200, 200]);
  assert.equal((await complete("ka")).status, 200);
  assert.equal(engine.active, 0);
});

Deno.test("KeyLimits gives a place back whatever becomes of the request", async () => {
  const { app, complete, engine } = limited({ concurrency: 1 });
  assert.equal((await complete("ka", { max_tokens: -1 })).status, 400);
  engine.script = { failure: { at: 2, error: new Error("bug") } };
  const silent = createApp(engine, {
    apiKeys: [{ key: "ka", name: "alice", concurrency: 1 }],
    reportError: () => {},
  });
  const key = { Authorization: "Bearer ka" };
  for (const stream of [false, true, false]) {
    assert.notEqual((await post(silent, "/v1/completions", { prompt: "x", stream }, key)).status, 429);
  }
  engine.script = { tokens: Array(1000).fill("x") };
  const response = await app.request("/v1/completions", {
    method: "POST",
    headers: { ...key, "Content-Type": "application/json" },
    body: '{"prompt":"x","max_tokens":1000,"stream":true}',
  });
  await response.body!.cancel();
  await new Promise((resolve) => setTimeout(resolve));
  engine.script = {};
  assert.equal((await complete("ka")).status, 200);
});

Deno.test("KeyLimits answers in llama.cpp's shape on its routes, and limits nobody who only looks", async () => {
  const { app, complete } = limited({ tokensPerMinute: 1 });
  await complete("ka");
  const refused = await complete("ka", {}, "/infill");
  assert.deepEqual([refused.status, refused.json.error.code], [429, 429]);
  for (const path of ["/v1/models", "/metrics", "/slots"]) {
    assert.equal((await get(app, path, { Authorization: "Bearer ka" })).status, 200, path);
  }
});
