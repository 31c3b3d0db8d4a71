// What holds in every dialect, one by one: keys, priorities, limits, accounts, the client that leaves.
import assert from "node:assert/strict";
import { EngineUnavailableError } from "../../engine/errors.ts";
import { bareKeys } from "../../routes/api_keys.ts";
import { createApp } from "../../routes/app.ts";
import { Drain } from "../../routes/drain.ts";
import { HttpServer } from "../../routes/http_server.ts";
import fc from "../fast_check.ts";
import { until } from "./delay.ts";
import { FakeEngine } from "./fake_engine.ts";
import { get, openApp, post, type Reply } from "./requests.ts";

interface Route {
  readonly path: string;
  readonly body: Record<string, unknown>;
  /** What makes the reply a stream; undefined for a route that has none. */
  readonly stream?: Record<string, unknown>;
  /** Where the fields are that we have added. */
  readonly extended: (fields: Record<string, unknown>) => Record<string, unknown>;
  readonly assertError: (reply: Reply) => void;
}

const atTop = (fields: Record<string, unknown>) => fields;
const asParameters = (parameters: Record<string, unknown>) => ({ parameters });

function assertOpenAi({ json }: Reply) {
  assert.deepEqual(Object.keys(json.error), ["message", "type", "param", "code"]);
}

function assertLlama({ status, json }: Reply) {
  assert.equal(json.error.code, status);
  assert.equal(typeof json.error.message, "string");
}

function assertTgi({ status, text, json }: Reply) {
  if (status === 401) assert.equal(text, "");
  else assert.deepEqual(Object.keys(json), ["error", "error_type"]);
}

function assertOllama({ json }: Reply) {
  assert.deepEqual(Object.keys(json), ["error"]);
  assert.equal(typeof json.error, "string");
}

/** The body is not read before the key is known, and so not whose it is. */
function assertTabby(reply: Reply) {
  if (reply.json) assertOpenAi(reply);
  else assert.notEqual(reply.text, "");
}

const ROUTES: Record<string, Route> = {
  openai: {
    path: "/v1/completions",
    body: { prompt: "x" },
    stream: { stream: true },
    extended: atTop,
    assertError: assertOpenAi,
  },
  "openai fim": {
    path: "/v1/fim/completions",
    body: { prompt: "x" },
    stream: { stream: true },
    extended: atTop,
    assertError: assertOpenAi,
  },
  "llama infill": {
    path: "/infill",
    body: { input_prefix: "p", input_suffix: "s" },
    stream: { stream: true },
    extended: atTop,
    assertError: assertLlama,
  },
  "llama completion": {
    path: "/completion",
    body: { prompt: "x" },
    stream: { stream: true },
    extended: atTop,
    assertError: assertLlama,
  },
  "tgi generate": {
    path: "/generate",
    body: { inputs: "x" },
    extended: asParameters,
    assertError: assertTgi,
  },
  "tgi stream": {
    path: "/generate_stream",
    body: { inputs: "x" },
    stream: {},
    extended: asParameters,
    assertError: assertTgi,
  },
  "tgi root": {
    path: "/",
    body: { inputs: "x" },
    stream: { stream: true },
    extended: asParameters,
    assertError: assertTgi,
  },
  ollama: {
    path: "/api/generate",
    body: { prompt: "x", stream: false },
    stream: { stream: true },
    extended: atTop,
    assertError: assertOllama,
  },
  tabby: {
    path: "/v1/completions",
    body: { segments: { prefix: "p" } },
    extended: atTop,
    assertError: assertTabby,
  },
};

for (const [name, { path, body, stream, extended, assertError }] of Object.entries(ROUTES)) {
  Deno.test(`${name}: needs a key where the server has keys`, async () => {
    const engine = new FakeEngine();
    const app = createApp(engine, { apiKeys: bareKeys(["good"]) });
    const refused = await post(app, path, body, { Authorization: "Bearer " });
    assert.equal(refused.status, 401);
    assert.equal(refused.headers.get("www-authenticate"), "Bearer");
    assertError(refused);
    assert.equal((await post(app, path, body, { "X-Api-Key": "good" })).status, 200);
    assert.equal(engine.standings[0]!.requester?.key, "key-1");
  });

  Deno.test(`${name}: tells a body that is too large, broken, or of another type, and an error of its own`, async () => {
    const app = createApp(new FakeEngine(), { apiKeys: [], bodyLimitBytes: 1000, reportError: () => {} });
    const cases: [reply: Reply, status: number][] = [
      [await post(app, path, { ...body, x: "x".repeat(1000) }), 413],
      [await post(app, path, "{"), 400],
      [await post(app, path, body, { "Content-Type": "text/plain" }), 415],
    ];
    for (const [reply, status] of cases) {
      assert.ok(
        reply.status === status || (status === 400 && reply.status === 422),
        `${reply.status} ${reply.text}`,
      );
      assertError(reply);
    }
    const bug = new FakeEngine({ failure: { at: 0, error: new Error("secret") } });
    const reply = await post(createApp(bug, { apiKeys: [], reportError: () => {} }), path, body);
    assert.equal(reply.status, 500);
    assert.doesNotMatch(reply.text, /secret/);
    assertError(reply);
  });

  Deno.test(`${name}: has priority, session and salt, by field and by header, and a number of its own`, async () => {
    const engine = new FakeEngine(), app = openApp(engine);
    await post(app, path, { ...body, ...extended({ priority: "batch", session_id: "me" }) });
    await post(app, path, body, { "X-Priority": "warm-up", "X-Session-Id": "you", "X-Request-Id": "r-1" });
    assert.deepEqual(engine.standings, [
      { priority: "batch", requester: { session: "me" } },
      { priority: "warm-up", requester: { session: "you" } },
    ]);
    assert.equal(engine.requestIds[1], "r-1");
  });

  Deno.test(`${name}: has rules for its output, and refuses wrong ones`, async () => {
    const engine = new FakeEngine(), app = openApp(engine);
    await post(app, path, { ...body, ...extended({ scope: "line" }) });
    assert.equal(engine.requests[0]!.outputRules?.scope, "line");
    const refused = await post(app, path, { ...body, ...extended({ scope: "word" }) });
    assert.ok([400, 422].includes(refused.status), refused.text);
    assertError(refused);
  });

  Deno.test(`${name}: takes no work while the server drains or loads, and is counted`, async () => {
    const drain = new Drain();
    const app = createApp(new FakeEngine(), { apiKeys: [], drain });
    await post(app, path, body);
    assert.match(
      (await get(app, "/metrics")).text,
      /vllm:request_success_total\{[^}]*finished_reason="stop"\} 1\n/,
    );
    drain.begin();
    const draining = await post(app, path, body);
    assert.equal(draining.status, 503);
    assertError(draining);
    const error = new EngineUnavailableError("Loading model", "loading", 2);
    const loading = await post(openApp(new FakeEngine({ failure: { at: 0, error } })), path, body);
    assert.deepEqual([loading.status, loading.headers.get("retry-after")], [503, "2"]);
    assertError(loading);
  });

  Deno.test(`${name}: answers any JSON with a reply or an error, never with a crash`, async () => {
    const app = openApp(new FakeEngine());
    const fields = [
      "model,prompt,suffix,inputs,parameters,segments,options,stream,context,raw,format,temperature,n_predict,stop,seed",
      "logit_bias,n_cmpl,debug_options,mode,think,images,template,logprobs,top_logprobs,truncate,keep_alive,clean,scope",
    ].join().split(",");
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.constantFrom(...fields), fc.jsonValue({ maxDepth: 3 })),
        async (extra) => {
          const reply = await post(app, path, { ...body, ...extra });
          assert.ok([200, 400, 404, 422].includes(reply.status), `${reply.status} ${reply.text}`);
        },
      ),
      { numRuns: 150 },
    );
  });

  Deno.test(`${name}: a client that leaves ends its work, before and after the first token`, async () => {
    for (const tokens of stream ? [0, 1] : [0]) {
      const gate = Promise.withResolvers<void>();
      const engine = new FakeEngine({
        tokens: Array(100).fill("a"),
        beforeToken: (index) => index < tokens + 1 ? undefined : gate.promise,
      });
      await using server = await HttpServer.listen(openApp(engine).fetch, { hostname: "127.0.0.1", port: 0 });
      const leave = new AbortController();
      const sent = fetch(`http://127.0.0.1:${server.port}${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ ...body, ...(tokens > 0 && stream) }),
        signal: leave.signal,
      });
      await until(() => engine.active === 1, "the request runs");
      // A stream of one token behind has something to send once there are two.
      if (tokens > 0) await (await sent).body!.getReader().read();
      leave.abort();
      await sent.catch(() => {});
      await until(() => engine.cancelled === 1, "the request is cancelled");
      gate.resolve();
    }
  });

  if (stream) {
    Deno.test(`${name}: sends each token as it comes`, async () => {
      const gates = Array.from({ length: 3 }, () => Promise.withResolvers<void>());
      const engine = new FakeEngine({
        tokens: ["a", "b", "c", "d"],
        beforeToken: (i) => gates[i - 2]?.promise,
      });
      await using server = await HttpServer.listen(openApp(engine).fetch, { hostname: "127.0.0.1", port: 0 });
      const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ ...body, ...stream }),
      });
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      let seen = "";
      for (const [i, letter] of ["a", "b", "c"].entries()) {
        while (!seen.includes(`:"${letter}"`)) {
          const { value, done } = await reader.read();
          assert.ok(!done, `${letter} is missing in ${seen}`);
          seen += value;
          // TGI sends a token when the next is known.
          if (path === "/generate_stream" || path === "/") gates[i]?.resolve();
        }
        gates[i]?.resolve();
      }
      await reader.cancel();
    });
  }
}

Deno.test("a browser may ask every dialect where its page is let in, without a key for the question", async () => {
  const app = createApp(new FakeEngine(), {
    apiKeys: bareKeys(["good"]),
    corsOrigins: ["https://editor.example"],
  });
  for (const { path, body } of Object.values(ROUTES)) {
    const origin = { Origin: "https://editor.example" };
    const asked = await app.request(path, {
      method: "OPTIONS",
      headers: {
        ...origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
      },
    });
    assert.equal(asked.status, 204, path);
    assert.equal(asked.headers.get("access-control-allow-origin"), origin.Origin);
    const reply = await post(app, path, body, { ...origin, Authorization: "Bearer good" });
    assert.equal(reply.headers.get("access-control-allow-origin"), origin.Origin);
  }
});

Deno.test("what only looks is neither limited nor refused", async () => {
  const drain = new Drain();
  const app = createApp(new FakeEngine(), { apiKeys: [], drain });
  drain.begin();
  assert.equal((await post(app, "/api/show", {})).status, 200);
  assert.equal(
    (await post(app, "/v1/events", { type: "view", completion_id: "c", choice_index: 0 })).status,
    200,
  );
  assert.equal(drain.working, 0);
});
