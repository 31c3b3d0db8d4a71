// What a request may weigh and how long it may take; tests/routes/app_test.ts has the size of bodies.
import assert from "node:assert/strict";
import { createApp } from "../../routes/app.ts";
import { FakeEngine } from "./fake_engine.ts";
import { assertOpenAiError, get, post } from "./requests.ts";

Deno.test("createApp() answers 431 to headers over the limit, and to an address", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: [], headerLimitBytes: 500 });
  const reply = await post(app, "/v1/completions", { prompt: "x" }, { "X-Long": "a".repeat(500) });
  assertOpenAiError(reply, 431, { message: /at most 500 bytes, received \d+/, code: "headers_too_large" });
  assert.equal((await get(app, `/healthz?${"a".repeat(500)}`)).status, 431);
  assert.equal((await get(app, "/healthz")).status, 200);
});

Deno.test("createApp() answers 408 to a body that does not come, and cancels what it reads", async () => {
  let cancelled = false;
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode('{"prom')),
    cancel: () => void (cancelled = true),
  });
  const app = createApp(new FakeEngine(), { apiKeys: [], bodyTimeoutMs: 1 });
  const response = await app.request("/v1/completions", { method: "POST", body });
  assert.equal(response.status, 408);
  assert.match((await response.json()).error.message, /must arrive within 0\.001 s/);
  assert.equal(cancelled, true);
});

Deno.test("createApp() binds every request by the server's deadlines, where its own are not earlier", async () => {
  const engine = new FakeEngine();
  const app = createApp(engine, {
    apiKeys: [],
    deadlines: { queueMs: 30_000, totalMs: 60_000, predictMs: 1000 },
  });
  await post(app, "/v1/completions", { prompt: "x" });
  const hole = { input_prefix: "p", input_suffix: "s" };
  await post(app, "/infill", { ...hole, t_max_prompt_ms: 500, t_max_predict_ms: 250 });
  await post(app, "/infill", { ...hole, t_max_predict_ms: 5000 });
  const server = { queueMs: 30_000, totalMs: 60_000, predictMs: 1000 };
  assert.deepEqual(engine.requests.map(({ deadlines }) => deadlines), [
    server,
    { ...server, promptMs: 500, predictMs: 250 },
    server,
  ]);
  await post(app, "/v1/completions", { prompt: ["x", "y", "z"] });
  const { queueMs: _, ...afterwards } = server;
  assert.deepEqual(engine.requests.slice(3).map(({ deadlines }) => deadlines), [
    server,
    afterwards,
    afterwards,
  ]);
});
