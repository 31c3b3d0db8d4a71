import assert from "node:assert/strict";
import { FakeEngine } from "../fake_engine.ts";
import { assertOpenAiError, get, openApp } from "../requests.ts";

Deno.test("/v1/models lists the served model, and /v1/models/{id} shows it", async () => {
  const app = openApp(new FakeEngine());
  const list = await get(app, "/v1/models");
  assert.equal(list.status, 200);
  const { created, ...item } = list.json.data[0];
  assert.ok(Number.isInteger(created) && Math.abs(created - Date.now() / 1000) < 60);
  assert.deepEqual(item, {
    id: "fake/model-1",
    object: "model",
    owned_by: "hyades",
    max_model_len: 2048,
    meta: { n_vocab: 1000, n_ctx_train: 2048, n_params: 31_000_000, size: 32_000_000 },
  });
  assert.deepEqual(Object.keys(list.json), ["object", "data"]);
  for (const path of ["/v1/models/fake/model-1", "/v1/models/fake%2Fmodel-1"]) {
    assert.deepEqual((await get(app, path)).json, list.json.data[0]);
  }
});

Deno.test("/v1/models/{id} does not know another model", async () => {
  const reply = await get(openApp(new FakeEngine()), "/v1/models/other");
  assertOpenAiError(reply, 404, {
    code: "model_not_found",
    param: "model",
    message: /"other" does not exist/,
  });
});

Deno.test("/v1/models is unavailable while the model loads", async () => {
  const engine = new FakeEngine();
  engine.state = { phase: "loading", progress: 0 };
  assertOpenAiError(await get(openApp(engine), "/v1/models"), 503, { code: "loading" });
});
