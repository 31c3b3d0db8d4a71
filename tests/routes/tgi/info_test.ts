import assert from "node:assert/strict";
import { createApp } from "../../../routes/app.ts";
import { FakeEngine } from "../fake_engine.ts";
import { get, openApp } from "../requests.ts";

Deno.test("/info shows the model and its limits, by the older name as well", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: [], version: "1.2.3" });
  const { json } = await get(app, "/info");
  assert.deepEqual(json, {
    model_id: "fake/model-1",
    model_sha: null,
    model_pipeline_tag: "text-generation",
    max_concurrent_requests: 256,
    max_best_of: 8,
    max_stop_sequences: 4,
    max_input_tokens: 2047,
    max_input_length: 2047,
    max_total_tokens: 2048,
    validation_workers: 1,
    max_client_batch_size: 1,
    router: "hyades",
    version: "1.2.3",
    sha: null,
    docker_label: null,
  });
});

Deno.test("/ping is empty, and 503 in TGI's shape until the model is there", async () => {
  const engine = new FakeEngine(), app = openApp(engine);
  const ready = await get(app, "/ping");
  assert.deepEqual([ready.status, ready.text], [200, ""]);
  engine.state = { phase: "loading", progress: 0 };
  const loading = await get(app, "/ping");
  assert.equal(loading.status, 503);
  assert.deepEqual(loading.json, { error: "Loading model", error_type: "unhealthy" });
});
