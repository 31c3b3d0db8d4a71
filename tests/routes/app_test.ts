import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { createApp } from "../../routes/app.ts";
import { FakeEngine } from "./fake_engine.ts";
import { assertOpenAiError, get, openApp, post } from "./requests.ts";

const PATH = "/v1/completions";

const UNREADABLE: [name: string, body: string, message: RegExp][] = [
  ["broken JSON", "{", /^The body must be valid JSON: /],
  ["nothing", "", /must be a JSON object, received nothing/],
  ["a list", "[1]", /must be a JSON object, received an array of 1/],
  ["null", "null", /must be a JSON object, received null/],
];

for (const [name, body, message] of UNREADABLE) {
  Deno.test(`createApp() answers 400 to a body of ${name}`, async () => {
    assertOpenAiError(await post(openApp(new FakeEngine()), PATH, body), 400, { message, param: null });
  });
}

Deno.test("createApp() answers 400 to bytes that are no UTF-8, and takes a byte-order mark", async () => {
  const app = openApp(new FakeEngine());
  const send = async (body: Uint8Array<ArrayBuffer>) => await app.request(PATH, { method: "POST", body });
  const broken = await send(Uint8Array.from('{"prompt":"é"}', (character) => character.charCodeAt(0)));
  assert.equal(broken.status, 400);
  assert.match((await broken.json()).error.message, /^The body must be JSON in UTF-8/);
  const marked = await send(new TextEncoder().encode('\ufeff{"prompt":"é"}'));
  assert.equal(marked.status, 200, await marked.text());
});

Deno.test("createApp() names a number that JSON cannot write", async () => {
  const reply = await post(openApp(new FakeEngine()), PATH, '{"prompt":"x","temperature":1e999}');
  assertOpenAiError(reply, 400, { message: /must be a number, received Infinity/, param: "temperature" });
});

Deno.test("createApp() answers 415 to another content type, and says which it wants", async () => {
  const type = "application/x-www-form-urlencoded";
  const reply = await post(openApp(new FakeEngine()), PATH, "{}", { "Content-Type": type });
  assertOpenAiError(reply, 415, { message: /must be application\/json, received application\/x-www-form/ });
});

Deno.test("createApp() takes JSON with a charset, and JSON without a content type", async () => {
  const app = openApp(new FakeEngine());
  const body = new TextEncoder().encode('{"prompt":"x"}');
  for (const headers of [{}, { "Content-Type": "application/json; charset=utf-8" }]) {
    const response = await app.request(PATH, { method: "POST", headers, body });
    assert.equal(response.status, 200, await response.text());
  }
});

Deno.test("createApp() answers 413 to a body over the limit, told or found out", async () => {
  const app = createApp(new FakeEngine(), { apiKeys: [], bodyLimitBytes: 100 });
  const body = JSON.stringify({ prompt: "x".repeat(100) });
  for (const headers of [{ "Content-Length": `${body.length}` }, { "Transfer-Encoding": "chunked" }, {}]) {
    assertOpenAiError(await post(app, PATH, body, headers), 413, { message: /at most 100 bytes/ });
  }
});

Deno.test("createApp() answers 404 to an unknown route", async () => {
  const reply = await post(openApp(new FakeEngine()), "/v1/chat/completions", {});
  assertOpenAiError(reply, 404, { code: "unknown_route", message: /POST \/v1\/chat\/completions/ });
});

Deno.test("createApp() answers 405 with the methods allowed", async () => {
  const app = openApp(new FakeEngine());
  const reply = await get(app, PATH);
  assertOpenAiError(reply, 405, { message: /does not answer to GET: use POST/ });
  assert.equal(reply.headers.get("allow"), "POST");
  assert.equal((await post(app, "/v1/models", {})).headers.get("allow"), "GET, HEAD");
  assert.equal((await get(app, "/infill")).json.error.code, 405);
});

Deno.test("createApp() tells a bug to the operator and not to the client", async () => {
  const bug = new Error("secret");
  const seen: unknown[] = [];
  for (const stream of [false, true]) {
    const engine = new FakeEngine({ failure: { at: 2, error: bug } });
    const app = createApp(engine, { apiKeys: [], reportError: (error) => seen.push(error) });
    const reply = await post(app, PATH, { prompt: "x", stream });
    assert.match(reply.text, /"message":"Internal server error","type":"server_error"/);
    assert.doesNotMatch(reply.text, /secret/);
  }
  assert.deepEqual(seen, [bug, bug]);
});

Deno.test("createApp() numbers every reply, errors too, and keeps the client's number", async () => {
  const app = openApp(new FakeEngine());
  assert.ok((await get(app, "/nowhere")).headers.get("x-request-id"));
  assert.equal((await get(app, "/healthz", { "X-Request-Id": "mine" })).headers.get("x-request-id"), "mine");
});

Deno.test("createApp() answers any JSON with a reply or an error that names a field, never with a crash", async () => {
  const app = openApp(new FakeEngine());
  const fields = [
    "prompt,suffix,max_tokens,temperature,top_p,top_k,min_p,n,best_of,stop,seed,stream,stream_options,echo,logprobs",
    "presence_penalty,logit_bias,model,input_prefix,input_suffix,input_extra,samplers,response_fields,n_predict",
  ].join().split(",");
  const body = fc.dictionary(fc.constantFrom(...fields), fc.jsonValue({ maxDepth: 3 }));
  await fc.assert(
    fc.asyncProperty(body, fc.constantFrom(PATH, "/infill"), async (extra, path) => {
      const reply = await post(app, path, { prompt: "x", input_prefix: "p", input_suffix: "s", ...extra });
      assert.ok([200, 400, 404].includes(reply.status), `${reply.status} ${reply.text}`);
      if (reply.status !== 200) assert.equal(typeof reply.json.error.message, "string");
    }),
    { numRuns: 400 },
  );
});

Deno.test("createApp() survives a body nested a hundred thousand deep", async () => {
  const nested = '{"a":'.repeat(100_000) + "1" + "}".repeat(100_000);
  const reply = await post(openApp(new FakeEngine()), PATH, `{"prompt":"x","stream_options":${nested}}`);
  assert.equal(reply.status, 400);
});
