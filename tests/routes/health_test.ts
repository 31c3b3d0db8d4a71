import assert from "node:assert/strict";
import type { EngineState } from "../../engine/engine.ts";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { until } from "./delay.ts";
import { FakeEngine } from "./fake_engine.ts";
import { openFakePool } from "./fake_pool.ts";
import { get, openApp } from "./requests.ts";

function appIn(state: EngineState) {
  const engine = new FakeEngine();
  engine.state = state;
  return openApp(engine);
}

const NOT_READY: [state: EngineState, readyz: object, llamaMessage: string][] = [
  [
    { phase: "loading", progress: 0.25 },
    { status: "loading", reason: "The model is being loaded", progress: 0.25 },
    "Loading model",
  ],
  [
    { phase: "rebuilding", reason: "Device lost" },
    { status: "rebuilding", reason: "Device lost" },
    "Device lost",
  ],
  [{ phase: "failed", reason: "No such file" }, { status: "failed", reason: "No such file" }, "No such file"],
];

for (const [state, readyz, message] of NOT_READY) {
  Deno.test(`probes of a server that is ${state.phase}`, async () => {
    const app = appIn(state);
    assert.deepEqual((await get(app, "/healthz")).json, { status: "ok" });
    const ready = await get(app, "/readyz");
    assert.equal(ready.status, 503);
    assert.equal(ready.headers.get("retry-after"), "1");
    assert.deepEqual(ready.json, readyz);
    for (const path of ["/health", "/v1/health"]) {
      const health = await get(app, path);
      assert.equal(health.status, 503);
      assert.deepEqual(health.json.error, { code: 503, message, type: "unavailable_error", param: null });
    }
  });
}

Deno.test("probes of a server that is ready", async () => {
  const app = appIn({ phase: "ready" });
  assert.equal((await get(app, "/healthz")).text, '{"status":"ok"}');
  assert.equal((await get(app, "/readyz")).text, '{"status":"ready","model":"fake/model-1"}');
  assert.equal((await get(app, "/health")).text, '{"status":"ok"}');
});

Deno.test("probes tell who shows no key whether requests are taken, and neither what is served nor why it failed", async () => {
  const key = { Authorization: "Bearer good" };
  await using models = openFakePool(["secret/one", "secret/two"].map((id) => new FakeEngine({}, id)));
  const app = createApp(models.pool, { apiKeys: bareKeys(["good"]) });
  await until(() => models.pool.primary.state.phase === "ready", "the first model is loaded");
  assert.equal((await get(app, "/readyz")).text, '{"status":"ready"}');
  assert.equal((await get(app, "/readyz", { Authorization: "Bearer wrong" })).text, '{"status":"ready"}');
  const { json } = await get(app, "/readyz", key);
  assert.equal(json.model, "secret/one");
  assert.deepEqual(json.models.map(({ id }: { id: string }) => id), ["secret/one", "secret/two"]);

  for (const phase of ["failed", "rebuilding"] as const) {
    const engine = new FakeEngine();
    engine.state = { phase, reason: "No such file /secret/model.safetensors" };
    const failing = createApp(engine, { apiKeys: bareKeys(["good"]) });
    for (const path of ["/readyz", "/health", "/v1/health"]) {
      const stranger = await get(failing, path);
      assert.equal(stranger.status, 503);
      assert.doesNotMatch(stranger.text, /secret/, path);
      assert.match(stranger.text, /could not be opened: the server's log says why|being opened anew/, path);
      assert.match((await get(failing, path, key)).text, /No such file \/secret/, path);
    }
  }
});
