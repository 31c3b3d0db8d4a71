// What routes make of a request's session, priority and connection, and how each dialect shows that it was superseded.
import assert from "node:assert/strict";
import type { Priority } from "../../engine/priority.ts";
import { createApp } from "../../routes/app.ts";
import { FakeEngine } from "./fake_engine.ts";
import { assertOpenAiError, eventData, openApp, post } from "./requests.ts";

const HOLE = { input_prefix: "p", input_suffix: "s" };

async function standing(path: string, body: object, headers = {}) {
  const engine = new FakeEngine();
  const reply = await post(openApp(engine), path, body, headers);
  assert.equal(reply.status, 200, reply.text);
  return engine.standings[0]!;
}

const PRIORITIES: [name: string, path: string, body: object, expected: Priority, headers?: object][] = [
  ["a completion", "/v1/completions", { prompt: "x" }, "live"],
  ["an infill", "/infill", HOLE, "live"],
  ["three samples", "/infill", { ...HOLE, n_cmpl: 3 }, "live"],
  ["many samples", "/infill", { ...HOLE, n_cmpl: 5 }, "batch"],
  ["several prompts", "/v1/completions", { prompt: ["x", "y"] }, "batch"],
  ["a prompt to score", "/v1/completions", { prompt: "x", echo: true, logprobs: 0, max_tokens: 0 }, "batch"],
  ["no new tokens", "/infill", { ...HOLE, n_predict: 0 }, "warm-up"],
  ["many new tokens at once", "/v1/completions", { prompt: "x", max_tokens: 513 }, "batch"],
  ["many new tokens as a stream", "/v1/completions", { prompt: "x", max_tokens: 513, stream: true }, "live"],
  [
    "llama.vim's look ahead",
    "/infill",
    { ...HOLE, t_max_predict_ms: 1000, response_fields: ["content"] },
    "speculative",
  ],
  ["the field", "/infill", { ...HOLE, priority: "batch" }, "batch"],
  ["vLLM's number", "/v1/completions", { prompt: "x", priority: 0 }, "live"],
  ["vLLM's number above 0", "/v1/completions", { prompt: "x", priority: 5 }, "batch"],
  ["vLLM's number in the header", "/infill", HOLE, "batch", { "X-Priority": "3" }],
  ["vLLM's number below 0 in the header", "/infill", HOLE, "live", { "X-Priority": "-1" }],
  ["the header before the field", "/infill", { ...HOLE, priority: "batch" }, "warm-up", {
    "X-Priority": "Warm-Up",
  }],
];

for (const [name, path, body, expected, headers] of PRIORITIES) {
  Deno.test(`standingOf() makes ${expected} of ${name}`, async () => {
    assert.equal((await standing(path, body, headers)).priority, expected);
  });
}

Deno.test("standingOf() takes a session from the header or the body, and from no request of several prompts", async () => {
  const session = async (body: object, headers = {}) =>
    (await standing("/v1/completions", body, headers)).requester?.session;
  assert.equal(await session({ prompt: "x", session_id: "ann" }), "ann");
  assert.equal(await session({ prompt: "x", session_id: "ann" }, { "X-Session-Id": "bob" }), "bob");
  assert.equal(await session({ prompt: "x", user: "ann" }), undefined);
  assert.equal(await session({ prompt: ["x", "y"], session_id: "ann" }), undefined);
  assert.equal((await standing("/infill", { ...HOLE, id_slot: 0 })).requester?.session, undefined);
});

Deno.test("standingOf() knows a client by its key, its address and what proxies add", async () => {
  const engine = new FakeEngine();
  const app = createApp(engine, { apiKeys: [{ key: "secret", name: "team" }] });
  const send = async (headers: Record<string, string>, facts: object) => {
    const init = { method: "POST", headers: { Authorization: "Bearer secret", ...headers } };
    await app.request("/infill", { ...init, body: JSON.stringify(HOLE) }, facts);
    return engine.standings.at(-1)!.requester!;
  };
  const json = { "Content-Type": "application/json" };
  const plain = await send(json, { remoteAddress: "10.0.0.1" });
  assert.equal(plain.key, "team");
  assert.deepEqual(await send(json, { remoteAddress: "10.0.0.1" }), plain);
  const others = [
    await send(json, { remoteAddress: "10.0.0.2" }),
    await send({ ...json, "User-Agent": "vim" }, { remoteAddress: "10.0.0.1" }),
    await send({ ...json, "X-Forwarded-For": "1.2.3.4" }, { remoteAddress: "10.0.0.1" }),
  ];
  for (const other of others) assert.notEqual(other.client, plain.client);
  assert.equal((await send(json, {})).client, undefined);
});

Deno.test("standingOf() names what is wrong, and the mend", async () => {
  const app = openApp(new FakeEngine());
  const field = await post(app, "/v1/completions", { prompt: "x", priority: "urgent" });
  assertOpenAiError(field, 400, { param: "priority" });
  const forms =
    /must be one of "live", "speculative", "warm-up", "batch" or a whole number, received "urgent"$/;
  assert.match(field.json.error.message, forms);
  const header = await post(app, "/infill", HOLE, { "X-Priority": "urgent" });
  assert.deepEqual([header.status, header.json.error.param], [400, "priority"]);
  assert.match(header.json.error.message, forms);
  const half = await post(app, "/infill", HOLE, { "X-Priority": "1.5" });
  assert.deepEqual([half.status, half.json.error.param], [400, "priority"]);
  const session = await post(app, "/infill", HOLE, { "X-Session-Id": "x".repeat(300) });
  assert.deepEqual([session.status, session.json.error.param], [400, "session_id"]);
});

Deno.test("A superseded completion ends as one that was cut off, and says so, in each dialect", async () => {
  const app = openApp(new FakeEngine({ tokens: ["a", "b"], reason: "superseded" }));
  const plain = (await post(app, "/v1/completions", { prompt: "x" })).json.choices[0];
  assert.deepEqual([plain.text, plain.finish_reason, plain.superseded], ["ab", "length", true]);
  const stream = eventData((await post(app, "/v1/completions", { prompt: "x", stream: true })).text);
  assert.equal(stream.at(-1), "[DONE]");
  const last = JSON.parse(stream.at(-2)!).choices[0];
  assert.deepEqual([last.finish_reason, last.superseded], ["length", true]);
  const infill = (await post(app, "/infill", HOLE)).json;
  assert.deepEqual([infill.content, infill.stop_type, infill.superseded], ["ab", "limit", true]);
  const parts = eventData((await post(app, "/infill", { ...HOLE, stream: true })).text);
  assert.equal(JSON.parse(parts.at(-1)!).superseded, true);
  const finished =
    (await post(openApp(new FakeEngine()), "/v1/completions", { prompt: "x" })).json.choices[0];
  assert.ok(!("superseded" in finished));
});
