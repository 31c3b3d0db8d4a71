import assert from "node:assert/strict";
import { createApp } from "../../routes/app.ts";
import { bareKeys } from "../../routes/api_keys.ts";
import { FakeEngine } from "./fake_engine.ts";
import { assertOpenAiError, get, openApp } from "./requests.ts";

Deno.test("/blocks has a letter for each block, and for each slot of host memory", async () => {
  const engine = new FakeEngine();
  engine.blockMap = { device: new Uint8Array([0, 1, 2, 3, 0, 1]), host: new Uint8Array([1, 0]) };
  const reply = await get(openApp(engine), "/blocks");
  assert.equal(reply.status, 200, reply.text);
  assert.deepEqual(reply.json, { device: ".chs.c", host: "c." });
});

Deno.test("/blocks needs a key where there is one", async () => {
  const engine = new FakeEngine();
  const secured = createApp(engine, { apiKeys: bareKeys(["k"]) });
  assertOpenAiError(await get(secured, "/blocks"), 401, { code: "invalid_api_key" });
});
