import assert from "node:assert/strict";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { FakeEngine } from "./fake_engine.ts";
import { get } from "./requests.ts";

const EDITOR = "https://vscode.dev";

function appFor(...corsOrigins: string[]) {
  return createApp(new FakeEngine(), { apiKeys: bareKeys(["k"]), corsOrigins });
}

function preflight(app: ReturnType<typeof appFor>, origin: string): Promise<Response> {
  return Promise.resolve(app.request("/v1/completions", {
    method: "OPTIONS",
    headers: {
      Origin: origin,
      "Access-Control-Request-Method": "POST",
      "Access-Control-Request-Headers": "authorization,content-type",
    },
  }));
}

Deno.test("createApp() allows no origin unless it is told to", async () => {
  const answer = await preflight(appFor(), EDITOR);
  assert.ok(answer.status >= 400);
  assert.equal(answer.headers.get("access-control-allow-origin"), null);
  const reply = await get(appFor(), "/healthz", { Origin: EDITOR });
  assert.equal(reply.headers.get("access-control-allow-origin"), null);
});

Deno.test("createApp() answers the preflight of a named origin without a key, and lets it read errors", async () => {
  const app = appFor("https://example.org", EDITOR);
  const answer = await preflight(app, EDITOR);
  assert.equal(answer.status, 204);
  assert.equal(answer.headers.get("access-control-allow-origin"), EDITOR);
  assert.equal(answer.headers.get("access-control-allow-headers"), "authorization,content-type");
  assert.match(answer.headers.get("access-control-allow-methods")!, /POST/);
  const refused = await get(app, "/v1/models", { Origin: EDITOR });
  assert.equal(refused.status, 401);
  assert.equal(refused.headers.get("access-control-allow-origin"), EDITOR);
  assert.match(refused.headers.get("access-control-expose-headers")!, /Retry-After/);
});

Deno.test("createApp() allows no other origin than those named", async () => {
  for (const origin of ["https://vscode.dev.evil.example", "http://vscode.dev", "null"]) {
    const answer = await preflight(appFor(EDITOR), origin);
    assert.equal(answer.headers.get("access-control-allow-origin"), null, origin);
  }
});

Deno.test("createApp() allows every origin with *", async () => {
  const answer = await preflight(appFor("*"), "https://anywhere.example");
  assert.equal(answer.headers.get("access-control-allow-origin"), "*");
});
