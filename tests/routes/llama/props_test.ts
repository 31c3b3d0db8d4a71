import assert from "node:assert/strict";
import { createApp } from "../../../routes/app.ts";
import { FakeEngine } from "../fake_engine.ts";
import { get, openApp, post } from "../requests.ts";

Deno.test("/props shows the model, its context and the defaults that requests have", async () => {
  const engine = new FakeEngine();
  engine.detokenize = (ids) => Promise.resolve(`<${ids}>`);
  const app = createApp(engine, { apiKeys: [], version: "1.2.3" });
  const { json } = await get(app, "/props?model=x&autoload=false");
  const { default_generation_settings: { params, n_ctx }, ...others } = json;
  assert.equal(n_ctx, 2048);
  assert.deepEqual(others, {
    total_slots: 1,
    model_alias: "fake/model-1",
    model_path: "fake/model-1",
    modalities: { vision: false, audio: false },
    endpoint_slots: true,
    endpoint_props: false,
    endpoint_metrics: true,
    chat_template: "",
    bos_token: "",
    eos_token: "<0>",
    build_info: "hyades-1.2.3",
    is_sleeping: false,
  });
  // What a request without fields of its own says that it was generated with.
  const { json: { generation_settings } } = await post(app, "/completion", { prompt: "x" });
  assert.deepEqual(params, generation_settings);
});

Deno.test("llama.cpp's routes that there are none of here are told in its shape", async () => {
  for (const path of ["/slots/0?action=erase", "/apply-template", "/lora-adapters"]) {
    const { status, json } = await post(openApp(new FakeEngine()), path, {});
    assert.deepEqual([status, json.error.code, json.error.type], [404, 404, "not_found_error"], path);
  }
});

Deno.test("/props cannot be set, and says so in llama.cpp's shape", async () => {
  const reply = await post(openApp(new FakeEngine()), "/props", {});
  assert.equal(reply.status, 405);
  assert.deepEqual(Object.keys(reply.json.error), ["code", "message", "type", "param"]);
});
