// Ollama's official npm client, as published: what it sends is read, and what it reads is there.
import assert from "node:assert/strict";
import { EngineUnavailableError } from "../../../engine/errors.ts";
import { bareKeys } from "../../../routes/api_keys.ts";
import { createApp } from "../../../routes/app.ts";
import { HttpServer } from "../../../routes/http_server.ts";
import { Ollama } from "../../ollama_client.ts";
import { until } from "../delay.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";

interface Session extends AsyncDisposable {
  readonly engine: FakeEngine;
  readonly client: Ollama;
}

async function open(script: Script, key = "good-key"): Promise<Session> {
  const engine = new FakeEngine(script);
  const app = createApp(engine, { apiKeys: bareKeys(["good-key"]), version: "1.2.3" });
  const server = await HttpServer.listen(app.fetch, { hostname: "127.0.0.1", port: 0 });
  const headers = { Authorization: `Bearer ${key}` };
  const client = new Ollama({ host: `http://127.0.0.1:${server.port}`, headers });
  return { engine, client, [Symbol.asyncDispose]: () => server.shutdown() };
}

const REQUEST = { model: "fake/model-1", prompt: "def f(" };

Deno.test("ollama client fills in the middle", async () => {
  await using session = await open({ tokens: ["x", "):"] });
  const reply = await session.client.generate({
    ...REQUEST,
    suffix: "\n",
    options: { num_predict: 8, temperature: 0, stop: ["\n\n"] },
  });
  assert.deepEqual([reply.response, reply.done, reply.done_reason], ["x):", true, "stop"]);
  assert.deepEqual([reply.prompt_eval_count, reply.eval_count], [7, 2]);
  const [request] = session.engine.requests;
  assert.deepEqual(request!.prompt, { kind: "infill", prefix: "def f(", suffix: "\n" });
  assert.deepEqual([request!.maxTokens, request!.temperature, request!.stop], [8, 0, ["\n\n"]]);
});

Deno.test("ollama client streams, part by part", async () => {
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await using session = await open({ tokens: ["a", "é", "𝕏"], beforeToken: (i) => gates[i - 1]?.promise });
  const texts: string[] = [];
  for await (const part of await session.client.generate({ ...REQUEST, stream: true })) {
    texts.push(part.response ?? "");
    // The next token comes only once this one has been read.
    gates[texts.length - 1]?.resolve();
  }
  assert.deepEqual(texts, ["a", "é", "𝕏", ""]);
});

Deno.test("ollama client cancels a stream", async () => {
  await using session = await open({ tokens: Array(10_000).fill("a"), tokenDelayMs: 2 });
  const stream = await session.client.generate({ ...REQUEST, stream: true });
  await assert.rejects(async () => {
    for await (const _ of stream) stream.abort();
  }, { name: "AbortError" });
  await until(() => session.engine.cancelled === 1, "the request is cancelled");
});

Deno.test("ollama client reads that there is no such model, no such key, and that the queue is full", async () => {
  await using session = await open({});
  await assert.rejects(session.client.generate({ ...REQUEST, model: "llama3" }), {
    name: "ResponseError",
    status_code: 404,
    error: 'model "llama3" not found, try pulling it first',
  });
  await using stranger = await open({}, "wrong");
  await assert.rejects(stranger.client.list(), { status_code: 401, error: "Incorrect API key provided" });
  await using full = await open({
    failure: { at: 0, error: new EngineUnavailableError("full", "queue_full") },
  });
  await assert.rejects(full.client.generate({ ...REQUEST, stream: true }), {
    status_code: 503,
    error: "full",
  });
});

Deno.test("ollama client reads an error in the middle of a stream", async () => {
  const error = new EngineUnavailableError("The device was lost", "device_lost");
  await using session = await open({ failure: { at: 2, error } });
  const texts: string[] = [];
  await assert.rejects(async () => {
    for await (const part of await session.client.generate({ ...REQUEST, stream: true })) {
      texts.push(part.response ?? "");
    }
  }, /The device was lost/);
  assert.deepEqual(texts, ["a"]);
});

Deno.test("ollama client lists, shows and finds running what is served", async () => {
  await using session = await open({});
  const [model] = (await session.client.list()).models;
  assert.equal(model!.name, "fake/model-1:latest");
  const shown = await session.client.show({ model: model!.name });
  assert.match(shown.template, /\.Suffix/);
  assert.deepEqual((await session.client.ps()).models.map(({ name }) => name), [model!.name]);
  assert.equal((await session.client.version()).version, "1.2.3");
});
