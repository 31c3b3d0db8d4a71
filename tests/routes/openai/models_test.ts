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
    meta: {
      vocab_type: 2,
      n_vocab: 1000,
      n_ctx_train: 2048,
      n_embd: 64,
      n_params: 31_000_000,
      size: 32_000_000,
    },
  });
  assert.deepEqual(Object.keys(list.json), ["object", "data", "models"]);
  for (const path of ["/v1/models/fake/model-1", "/v1/models/fake%2Fmodel-1"]) {
    assert.deepEqual((await get(app, path)).json, list.json.data[0]);
  }
});

Deno.test("/models and /v1/models have beside OpenAI's list what llama.cpp's server has, after Ollama", async () => {
  const app = openApp(new FakeEngine());
  const { models: [{ modified_at, digest, ...entry }], ...rest } = (await get(app, "/models")).json;
  assert.ok(Math.abs(Date.parse(modified_at) / 1000 - rest.data[0].created) <= 1, modified_at);
  assert.match(digest, /^[\da-f]{64}$/);
  assert.deepEqual(entry, {
    name: "fake/model-1",
    model: "fake/model-1",
    size: 32_000_000,
    details: {
      parent_model: "",
      format: "safetensors",
      family: "gpt_bigcode",
      families: ["gpt_bigcode"],
      parameter_size: "31.0M",
      quantization_level: "8-bit",
    },
    capabilities: ["completion", "insert"],
    type: "model",
    description: "",
    tags: [],
    parameters: "num_ctx 2048",
  });
  assert.deepEqual((await get(app, "/v1/models")).json, (await get(app, "/models")).json);
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
