import assert from "node:assert/strict";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { FakeEngine } from "./fake_engine.ts";
import { assertOpenAiError, get, openApp, post } from "./requests.ts";

const app = () => createApp(new FakeEngine(), { apiKeys: bareKeys(["first", "sëcond"]) });

const ACCEPTED: Record<string, string>[] = [
  { Authorization: "Bearer first" },
  { Authorization: "bearer first" },
  { "X-Api-Key": "first" },
  { Authorization: "Bearer ", "X-Api-Key": "first" },
];

for (const headers of ACCEPTED) {
  Deno.test(`requireApiKey() accepts ${JSON.stringify(headers)}`, async () => {
    assert.equal((await get(app(), "/v1/models", headers)).status, 200);
  });
}

Deno.test("requireApiKey() knows a key however its letters and blanks travel, and nothing like it", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: bareKeys([" ключ\n", "clé"]) });
  const bytes = (text: string) => String.fromCharCode(...new TextEncoder().encode(text));
  for (const key of [bytes("ключ"), bytes("clé"), "clé"]) {
    assert.equal((await get(app, "/v1/models", { Authorization: `Bearer ${key}` })).status, 200, key);
  }
  const lowBytes = Array.from("ключ", (letter) => String.fromCharCode(letter.charCodeAt(0) & 0xff)).join("");
  assert.equal((await get(app, "/v1/models", { Authorization: `Bearer ${lowBytes}` })).status, 401);
});

const REFUSED: Record<string, string>[] = [
  {},
  { Authorization: "Bearer " },
  { Authorization: "Bearer wrong" },
  { Authorization: "Bearer firs" },
  { Authorization: "Bearer first2" },
  { Authorization: "first" },
  { Authorization: "Basic first" },
  { "X-Api-Key": "" },
];

for (const headers of REFUSED) {
  Deno.test(`requireApiKey() refuses ${JSON.stringify(headers)}`, async () => {
    const reply = await get(app(), "/v1/models", headers);
    assertOpenAiError(reply, 401, { type: "invalid_request_error", code: "invalid_api_key" });
    assert.equal(reply.headers.get("www-authenticate"), "Bearer");
    assert.doesNotMatch(reply.text, /firs/);
  });
}

Deno.test("requireApiKey() answers in llama.cpp's shape on its route, before the body is read", async () => {
  const reply = await post(app(), "/infill", "{");
  assert.equal(reply.status, 401);
  assert.equal(reply.json.error.type, "authentication_error");
  assert.equal(reply.json.error.code, 401);
});

for (const path of ["/healthz", "/readyz", "/health", "/v1/health", "/docs", "/openapi.json"]) {
  Deno.test(`requireApiKey() leaves ${path} public`, async () => {
    assert.equal((await get(app(), path)).status, 200);
  });
}

Deno.test("requireApiKey() lets everything pass when there are no keys, whatever is sent", async () => {
  for (const headers of [{}, { Authorization: "Bearer " }, { Authorization: "Bearer anything" }]) {
    assert.equal((await get(openApp(new FakeEngine()), "/v1/models", headers)).status, 200);
  }
});

Deno.test("requireApiKey() refuses an empty key in the configuration", () => {
  assert.throws(() => createApp(new FakeEngine(), { apiKeys: bareKeys(["good", " "]) }), TypeError);
});

Deno.test("requireApiKey() refuses two keys of one name, for the log could not tell them apart", () => {
  const apiKeys = [{ key: "a", name: "x" }, { key: "b", name: "x" }];
  assert.throws(() => createApp(new FakeEngine(), { apiKeys }), /two API keys named "x"/);
});
