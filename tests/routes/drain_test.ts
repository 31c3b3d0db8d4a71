import assert from "node:assert/strict";
import { createApp } from "../../routes/app.ts";
import { Drain } from "../../routes/drain.ts";
import { FakeEngine } from "./fake_engine.ts";
import { assertOpenAiError, get, post } from "./requests.ts";

const HOLE = { prompt: "x", input_prefix: "p", input_suffix: "s" };

async function settled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol();
  await new Promise((resolve) => setTimeout(resolve));
  return await Promise.race([promise, Promise.resolve(pending)]) !== pending;
}

Deno.test("Drain flips readiness and refuses new work at once, while running work finishes", async () => {
  const gate = Promise.withResolvers<void>();
  const drain = new Drain();
  const app = createApp(new FakeEngine({ admitted: gate.promise }), { apiKeys: [], drain });
  const running = ["/v1/completions", "/infill"].map((path) => post(app, path, { ...HOLE, stream: true }));
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal((await get(app, "/readyz")).status, 200);
  const idle = drain.begin();

  const ready = await get(app, "/readyz");
  assert.deepEqual([ready.status, ready.json.status], [503, "draining"]);
  assert.equal((await get(app, "/health")).status, 503);
  assert.equal((await get(app, "/healthz")).status, 200, "it is alive");
  const refused = await post(app, "/v1/completions", HOLE);
  assertOpenAiError(refused, 503, { type: "overloaded", code: "draining" });
  assert.equal(refused.headers.get("retry-after"), "5");
  assert.equal((await post(app, "/infill", HOLE)).json.error.type, "unavailable_error");
  assert.equal((await get(app, "/metrics")).status, 200, "one may still look");

  assert.equal(drain.working, 2);
  assert.equal(await settled(idle), false);
  gate.resolve();
  for (const reply of await Promise.all(running)) assert.match(reply.text, /"(text|content)":"a"/);
  assert.equal(await settled(idle), true);
});

Deno.test("Drain is idle at once when nothing runs, and does not count those who look", async () => {
  const drain = new Drain();
  const app = createApp(new FakeEngine(), { apiKeys: [], drain });
  await post(app, "/v1/completions", HOLE);
  await get(app, "/v1/models");
  assert.equal(drain.draining, false);
  assert.equal(await settled(drain.begin()), true);
});
