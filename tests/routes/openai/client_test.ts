// The official client, as published: what it sends is read, and what it reads is there.
import assert from "node:assert/strict";
import OpenAI, {
  APIError,
  AuthenticationError,
  BadRequestError,
  NotFoundError,
  RateLimitError,
} from "../../openai_client.ts";
import { EngineUnavailableError } from "../../../engine/errors.ts";
import { bareKeys } from "../../../routes/api_keys.ts";
import { createApp } from "../../../routes/app.ts";
import { HttpServer } from "../../../routes/http_server.ts";
import { until } from "../delay.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";

interface Session extends AsyncDisposable {
  readonly engine: FakeEngine;
  readonly client: OpenAI;
}

async function open(
  script: Script,
  options: { apiKey?: string; maxRetries?: number } = {},
): Promise<Session> {
  const engine = new FakeEngine(script);
  const app = createApp(engine, { apiKeys: bareKeys(["good-key"]) });
  const server = await HttpServer.listen(app.fetch, { hostname: "127.0.0.1", port: 0 });
  const client = new OpenAI({
    baseURL: `http://127.0.0.1:${server.port}/v1`,
    apiKey: options.apiKey ?? "good-key",
    maxRetries: options.maxRetries ?? 0,
  });
  return { engine, client, [Symbol.asyncDispose]: () => server.shutdown() };
}

const REQUEST = { model: "fake/model-1", prompt: "def f(" };

Deno.test("openai client completes", async () => {
  await using session = await open({ tokens: ["x", "):"] });
  const completion = await session.client.completions.create({ ...REQUEST, suffix: "\n", max_tokens: 8 });
  assert.equal(completion.choices[0]!.text, "x):");
  assert.equal(completion.choices[0]!.finish_reason, "stop");
  assert.deepEqual(completion.usage, {
    prompt_tokens: 7,
    completion_tokens: 2,
    total_tokens: 9,
    prompt_tokens_details: { cached_tokens: 0 },
  });
  assert.ok(completion._request_id);
  const [request] = session.engine.requests;
  assert.deepEqual(request!.prompt, { kind: "infill", prefix: "def f(", suffix: "\n" });
  assert.equal(request!.maxTokens, 8);
});

Deno.test("openai client reads logprobs", async () => {
  await using session = await open({ tokens: ["x"] });
  const completion = await session.client.completions.create({ ...REQUEST, logprobs: 1 });
  assert.deepEqual(completion.choices[0]!.logprobs, {
    tokens: ["x"],
    token_logprobs: [-0.25],
    top_logprobs: [{ A: -1, x: -0.25 }],
    text_offset: [0],
  });
});

Deno.test("openai client streams, and reads the usage", async () => {
  await using session = await open({ tokens: ["a", "b", "c"], tokenDelayMs: 5 });
  const stream = await session.client.completions.create({
    ...REQUEST,
    stream: true,
    stream_options: { include_usage: true },
  });
  const texts: string[] = [];
  let usage: OpenAI.CompletionUsage | null | undefined;
  for await (const chunk of stream) {
    if (chunk.choices[0]) texts.push(chunk.choices[0].text);
    usage = chunk.usage;
  }
  assert.deepEqual(texts, ["a", "b", "c", ""]);
  assert.deepEqual(usage, {
    prompt_tokens: 6,
    completion_tokens: 3,
    total_tokens: 9,
    prompt_tokens_details: { cached_tokens: 0 },
  });
});

Deno.test("openai client cancels a stream by leaving the loop", async () => {
  await using session = await open({ tokens: Array(10_000).fill("a"), tokenDelayMs: 2 });
  const stream = await session.client.completions.create({ ...REQUEST, max_tokens: 10_000, stream: true });
  for await (const _ of stream) break;

  await until(() => session.engine.cancelled === 1, "the request is cancelled");
});

Deno.test("openai client reads which field is wrong", async () => {
  await using session = await open({});
  await assert.rejects(session.client.completions.create({ ...REQUEST, temperature: 3 }), (error) => {
    assert.ok(error instanceof BadRequestError);
    assert.equal(error.status, 400);
    assert.equal(error.param, "temperature");
    assert.equal(error.type, "invalid_request_error");
    assert.match(error.message, /"temperature" must be at most 2, received 3/);
    return true;
  });
});

Deno.test("openai client reads that its key is wrong", async () => {
  await using session = await open({}, { apiKey: "wrong" });
  await assert.rejects(session.client.completions.create(REQUEST), (error) => {
    assert.ok(error instanceof AuthenticationError);
    assert.equal(error.code, "invalid_api_key");
    return true;
  });
});

Deno.test("openai client reads that there is no such model", async () => {
  await using session = await open({});
  await assert.rejects(session.client.completions.create({ ...REQUEST, model: "gpt-5" }), (error) => {
    assert.ok(error instanceof NotFoundError);
    assert.equal(error.code, "model_not_found");
    assert.equal(error.param, "model");
    return true;
  });
});

Deno.test("openai client reads that the queue is full", async () => {
  const error = new EngineUnavailableError("The queue is full", "queue_full", 7);
  await using session = await open({ failure: { at: 0, error } });
  await assert.rejects(session.client.completions.create(REQUEST), (error) => {
    assert.ok(error instanceof RateLimitError);
    assert.equal(error.code, "rate_limit_exceeded");
    assert.equal(error.headers?.get("retry-after"), "7");
    return true;
  });
});

Deno.test("openai client tries again when the queue was full", async () => {
  const error = new EngineUnavailableError("The queue is full", "queue_full", 0.01);
  await using session = await open({ failure: { at: 0, error } }, { maxRetries: 1 });
  const reply = session.client.completions.create(REQUEST);

  await until(() => session.engine.requests.length === 1, "the first try");
  session.engine.script = { tokens: ["ok"] };
  assert.equal((await reply).choices[0]!.text, "ok");
});

Deno.test("openai client reads an error in the middle of a stream", async () => {
  const error = new EngineUnavailableError("The device was lost", "device_lost");
  await using session = await open({ failure: { at: 2, error } });
  const stream = await session.client.completions.create({ ...REQUEST, stream: true });
  const texts: string[] = [];
  await assert.rejects(
    async () => {
      for await (const chunk of stream) texts.push(chunk.choices[0]!.text);
    },
    (error) => {
      assert.ok(error instanceof APIError);
      assert.match(error.message, /The device was lost/);
      assert.equal(error.code, "device_lost");
      return true;
    },
  );
  assert.deepEqual(texts, ["a"]);
});

Deno.test("openai client lists and retrieves models", async () => {
  await using session = await open({});
  const ids: string[] = [];
  for await (const model of session.client.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ["fake/model-1"]);
  assert.equal((await session.client.models.retrieve("fake/model-1")).object, "model");
});
