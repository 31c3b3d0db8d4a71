import assert from "node:assert/strict";
import { EngineUnavailableError, InvalidRequestError } from "../../engine/errors.ts";
import { createApp } from "../../routes/app.ts";
import { Log, type LogLevel } from "../../routes/log.ts";
import { Clock } from "./clock.ts";
import { FakeEngine } from "./fake_engine.ts";
import { get, post } from "./requests.ts";

const DATE = new Date("2026-11-24T10:00:00.000Z");

function logged(level: LogLevel, engine = new FakeEngine()) {
  const lines: string[] = [];
  const log = new Log({ level, write: (line) => lines.push(line), date: () => DATE });
  const app = createApp(engine, { apiKeys: [{ name: "alice", key: "k" }], log, now: new Clock().now });
  return { app, log, lines, entries: () => lines.map((line) => JSON.parse(line)) };
}

const KEY = { Authorization: "Bearer k" };

Deno.test("Log writes one JSON object a line, from its level up, without fields that are undefined", () => {
  const { log, lines } = logged("info");
  log.add("debug", "too fine");
  log.add("info", "two\nlines", { a: 1, b: undefined });
  assert.deepEqual(lines, ['{"time":"2026-11-24T10:00:00.000Z","level":"info","event":"two\\nlines","a":1}']);
  const off = logged("off");
  off.log.add("error", "anything");
  assert.deepEqual(off.lines, []);
});

Deno.test("logExchanges() tells who asked, what came of it and how long it took", async () => {
  const { app, entries } = logged("info");
  await post(app, "/v1/completions", { prompt: ["x", "yz"], n: 2 }, { ...KEY, "X-Request-Id": "mine" });
  assert.deepEqual(entries(), [{
    time: DATE.toISOString(),
    level: "info",
    event: "request",
    request_id: "mine",
    method: "POST",
    path: "/v1/completions",
    status: 200,
    key: "alice",
    duration_ms: 0,
    outcome: "finished",
    finish: ["eos", "eos", "eos", "eos"],
    prompt_tokens: 3,
    generated_tokens: 12,
    first_token_ms: 0,
    queue_ms: 1,
    prompt_ms: 20,
    predicted_ms: 50,
  }]);
});

Deno.test("logExchanges() writes a stream's line when the stream ends", async () => {
  const { app, entries } = logged("info", new FakeEngine({ tokens: ["a", "b"] }));
  const reply = await app.request("/v1/completions", {
    method: "POST",
    headers: { ...KEY, "Content-Type": "application/json" },
    body: '{"prompt":"x","stream":true}',
  });
  await reply.text();
  assert.deepEqual(entries().map(({ generated_tokens }) => generated_tokens), [2]);
});

Deno.test("logExchanges() has no prompt, completion or key in any line, of failures neither", async () => {
  const engine = new FakeEngine({ tokens: ["hidden-completion"] });
  const { app, lines } = logged("debug", engine);
  const body = { prompt: "hidden-prompt", suffix: "hidden-suffix" };
  await post(app, "/v1/completions", body, KEY);
  await post(app, "/v1/completions", { prompt: 1, stop: "hidden-stop" }, KEY);
  await post(app, "/v1/completions", body, { Authorization: "Bearer hidden-key" });
  await post(app, "/v1/completions?token=hidden-query", body, KEY);
  engine.script = { failure: { at: 0, error: new Error("bug") } };
  await post(app, "/v1/completions", body, KEY);
  assert.equal(lines.length, 6, "five requests and one error");
  assert.doesNotMatch(lines.join("\n"), /hidden/);
});

Deno.test("logExchanges() takes probes for noise, and only what is the server's fault for a warning", async () => {
  const engine = new FakeEngine();
  const { app, entries } = logged("debug", engine);
  await get(app, "/healthz");
  await post(app, "/v1/completions", {}, KEY);
  engine.state = { phase: "loading", progress: 0 };
  await get(app, "/readyz");
  engine.state = { phase: "ready" };
  engine.script = { failure: { at: 2, error: new Error("bug") } };
  await post(app, "/v1/completions", { prompt: "x", stream: true }, KEY);
  // Found to be none only while the prompt is read.
  const fault = new InvalidRequestError("m", { field: "guided_regex", reason: "invalid_value" });
  engine.script = { failure: { at: 1, error: fault } };
  await post(app, "/v1/completions", { prompt: "x", guided_regex: "(" }, KEY);
  const missing = new EngineUnavailableError("m", "no_grammar_library", undefined, "guided_regex");
  engine.script = { failure: { at: 1, error: missing } };
  await post(app, "/v1/completions", { prompt: "x", guided_regex: "a" }, KEY);
  const levels = entries().map(({ event, level, status }) => [event, level, status]);
  assert.deepEqual(levels, [
    ["request", "debug", 200],
    ["request", "info", 400],
    ["request", "debug", 503],
    ["request", "warn", 200],
    ["internal error", "error", undefined],
    ["request", "info", 400],
    ["request", "warn", 501],
  ]);
});

Deno.test("createApp() hands the request's id to the engine and back to the client", async () => {
  const engine = new FakeEngine();
  const { app } = logged("off", engine);
  const reply = await post(app, "/infill", { input_prefix: "p", input_suffix: "s" }, {
    ...KEY,
    "X-Request-Id": "r-7",
  });
  assert.equal(reply.headers.get("x-request-id"), "r-7");
  assert.deepEqual(engine.requestIds, ["r-7"]);
});
