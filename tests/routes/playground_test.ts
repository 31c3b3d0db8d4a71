import assert from "node:assert/strict";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { FakeEngine } from "./fake_engine.ts";
import { get } from "./requests.ts";

const playgroundFolder = new URL("../../clients/playground/", import.meta.url);
const HTML = { Accept: "text/html,application/xhtml+xml" };

function open(...keys: string[]) {
  return createApp(new FakeEngine(), { apiKeys: bareKeys(keys), playgroundFolder });
}

Deno.test("/ is the playground for browsers, and says to others that a server is there", async () => {
  const app = open(), page = await get(app, "/", HTML);
  assert.equal(page.status, 200);
  assert.match(page.headers.get("content-type")!, /^text\/html/);
  assert.match(page.text, /<title>Hyades<\/title>/);
  assert.equal(page.headers.get("vary"), "Accept");
  for (const headers of [{}, { Accept: "*/*" }, { Accept: "application/json" }]) {
    assert.equal((await get(app, "/", headers)).text, "Ollama is running");
  }
  const without = createApp(new FakeEngine(), { apiKeys: [] });
  assert.equal((await get(without, "/", HTML)).headers.get("location"), "/docs");
});

Deno.test("the playground's policy lets in this server's files, and what carries the reply's own nonce", async () => {
  const app = open();
  const pages = [await get(app, "/", HTML), await get(app, "/", HTML)];
  const nonces = pages.map(({ text, headers }) => {
    const policy = headers.get("content-security-policy")!;
    assert.match(policy, /^default-src 'none';/);
    assert.doesNotMatch(policy, /unsafe|https?:|\*/);
    const [, nonce] = /script-src 'self' 'nonce-([^']{20,})'/.exec(policy)!;
    assert.ok(policy.includes(`style-src 'self' 'nonce-${nonce}'`));
    const scripts = [...text.matchAll(/<script[^>]*>/g)].map(([tag]) => tag);
    assert.ok(scripts.length > 0 && scripts.every((tag) => tag.includes(`nonce="${nonce}"`)), text);
    assert.equal(headers.get("cache-control"), "no-store");
    return nonce;
  });
  assert.notEqual(nonces[0], nonces[1]);
});

Deno.test("the playground's page names only files that are there, and loads nothing from elsewhere", async () => {
  const app = open(), { text } = await get(app, "/", HTML);
  assert.doesNotMatch(text, /https?:|style=|\son\w+=/);
  const files = [...text.matchAll(/(?:src|href)="(\/playground\/[^"]+)"/g)].map(([, path]) => path);
  assert.ok(files.length >= 4, files.join());
  for (const path of files) {
    const reply = await app.request(path);
    assert.equal(reply.status, 200, path);
    assert.equal(reply.headers.get("x-content-type-options"), "nosniff");
    await reply.body?.cancel();
  }
  assert.equal((await get(app, "/playground/page.html")).status, 404);
  assert.equal((await get(app, "/playground/deno.json")).status, 404);
  assert.equal((await get(app, "/playground/constructor")).status, 404);
});

Deno.test("the playground's files come compressed to whoever takes that, and not again to whoever has them", async () => {
  const app = open(), path = "/playground/playground.js";
  const plain = await app.request(path);
  const zipped = await app.request(path, { headers: { "Accept-Encoding": "br, gzip" } });
  assert.equal(plain.headers.get("content-encoding"), null);
  assert.equal(zipped.headers.get("content-encoding"), "gzip");
  const code = await plain.text();
  const unzipped = zipped.body!.pipeThrough(new DecompressionStream("gzip"));
  assert.equal(await new Response(unzipped).text(), code);
  const etag = plain.headers.get("etag")!;
  const again = await app.request(path, { headers: { "If-None-Match": etag } });
  assert.deepEqual([again.status, await again.text()], [304, ""]);
  assert.equal((await app.request(path, { headers: { "If-None-Match": 'W/"other"' } })).status, 200);
});

Deno.test("the playground needs no key, and what it reads does", async () => {
  const app = open("k");
  assert.equal((await get(app, "/", HTML)).status, 200);
  assert.equal((await get(app, "/playground/style.css")).status, 200);
  for (const path of ["/metrics", "/blocks", "/v1/models"]) assert.equal((await get(app, path)).status, 401);
});
