import assert from "node:assert/strict";
import { bareKeys } from "../../../routes/api_keys.ts";
import { createApp } from "../../../routes/app.ts";
import { healthState } from "../../../routes/tabby/server_info.ts";
import { FakeEngine } from "../fake_engine.ts";
import { get, openApp, post } from "../requests.ts";

Deno.test("/v1/health is llama.cpp's reply and Tabby's in one, by GET and by POST", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: [], version: "1.2.3" });
  for (const { json } of [await get(app, "/v1/health"), await post(app, "/v1/health", {})]) {
    const { status, ...state } = json;
    assert.equal(status, "ok");
    healthState.strict().parse(state);
    assert.deepEqual([state.model, state.device, state.version.git_describe], [
      "fake/model-1",
      "cpu",
      "v1.2.3",
    ]);
    assert.deepEqual(state.models.completion, { local: { model_id: "fake/model-1", device: "cpu" } });
    assert.ok(state.cpu_count >= 1);
  }
});

Deno.test("/v1/health tells who shows no key that the server runs, and nothing of the machine", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: bareKeys(["good"]) });
  for (const headers of [{}, { Authorization: "Bearer " }]) {
    assert.deepEqual((await get(app, "/v1/health", headers)).json, { status: "ok" });
    assert.equal((await post(app, "/v1/health", {}, headers)).status, 401);
  }
  // By this Tabby's clients find out that theirs is wrong; other probes are answered whatever they show.
  const wrong = { Authorization: "Bearer wrong" };
  assert.equal((await get(app, "/v1/health", wrong)).status, 401);
  assert.equal((await get(app, "/health", wrong)).status, 200);
  const known = await get(app, "/v1/health", { Authorization: "Bearer good" });
  assert.equal(known.json.model, "fake/model-1");
});

Deno.test("Tabby's clients are told the model, and to send no telemetry", async () => {
  const app = openApp(new FakeEngine());
  assert.deepEqual((await get(app, "/v1beta/models")).json, { completion: ["fake/model-1"], chat: [] });
  assert.deepEqual((await get(app, "/v1beta/server_setting")).json, { disable_client_side_telemetry: true });
});
