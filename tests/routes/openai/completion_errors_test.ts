// Errors of the engine, as clients of /v1/completions get them.
import assert from "node:assert/strict";
import { EngineUnavailableError, InvalidRequestError } from "../../../engine/errors.ts";
import { fimUnsupportedError } from "../../../engine/validate_request.ts";
import { createApp } from "../../../routes/app.ts";
import { FakeEngine } from "../fake_engine.ts";
import { assertOpenAiError, eventData, openApp, post } from "../requests.ts";
import { complete, PATH } from "./complete.ts";

Deno.test("/v1/completions sends an error after the first token as the last event", async () => {
  const error = new EngineUnavailableError("The device was lost", "device_lost");
  const reply = await complete({ failure: { at: 2, error } }, { stream: true });
  assert.equal(reply.status, 200);
  const data = eventData(reply.text);
  assert.equal(JSON.parse(data[0]!).choices[0].text, "a");
  assert.equal(
    data.at(-1),
    '{"error":{"message":"The device was lost","type":"overloaded","param":null,"code":"device_lost"}}',
  );
});

Deno.test("/v1/completions answers an error before the first token with its status, also when streaming", async () => {
  for (const at of [0, 1]) {
    const error = new EngineUnavailableError("The queue is full", "queue_full", 2.5);
    const reply = await complete({ failure: { at, error } }, { stream: true });
    assertOpenAiError(reply, 429, { type: "rate_limit_exceeded", code: "rate_limit_exceeded" });
    assert.equal(reply.headers.get("retry-after"), "3");
  }
});

Deno.test("/v1/completions cancels the other prompts when one fails", async () => {
  const engine = new FakeEngine({ tokenDelayMs: 5, failure: { at: 2, error: new Error("bug") } });
  const reported: unknown[] = [];
  const app = createApp(engine, { apiKeys: [], reportError: (error) => reported.push(error) });
  const reply = await post(app, PATH, { prompt: ["a", "b", "c"] });
  assertOpenAiError(reply, 500, { message: "Internal server error", type: "server_error" });
  assert.equal(reported.length, 1);
  assert.equal(engine.active, 0);
});

Deno.test("/v1/completions names the context length that was exceeded", async () => {
  const error = new InvalidRequestError(
    "Cannot admit request: prompt must be at most 2048 tokens, received 9001",
    {
      field: "prompt",
      reason: "context_length_exceeded",
      tokens: { prompt: 9001, context: 2048 },
    },
  );
  const reply = await complete({ failure: { at: 0, error } }, {});
  assertOpenAiError(reply, 400, { param: "prompt", code: "context_length_exceeded", message: /9001/ });
});

Deno.test("/v1/completions names the wire field of an engine's complaint", async () => {
  for (const [field, param] of [["maxTokens", "max_tokens"], ["logitBias[3].id", "logit_bias"]] as const) {
    const message = `Cannot admit request: ${field.split("[")[0]} must be less, received logitBias`;
    const error = new InvalidRequestError(message, { field, reason: "invalid_value" });
    assertOpenAiError(await complete({ failure: { at: 0, error } }, {}), 400, {
      param,
      message: `Cannot admit request: "${param}" must be less, received logitBias`,
    });
  }
});

Deno.test("/v1/completions says so when the model cannot infill", async () => {
  const error = fimUnsupportedError(["prefix"]);
  const reply = await complete({ failure: { at: 0, error } }, { suffix: "b" });
  assertOpenAiError(reply, 400, { param: "suffix", code: "fim_unsupported" });
});

Deno.test("/v1/completions does not know another model", async () => {
  const reply = await complete({}, { model: "gpt-5" });
  assertOpenAiError(reply, 404, {
    param: "model",
    code: "model_not_found",
    message: /"gpt-5" does not exist/,
  });
});

Deno.test("/v1/completions is unavailable while the model loads", async () => {
  const engine = new FakeEngine();
  engine.state = { phase: "loading", progress: 0.5 };
  const reply = await post(openApp(engine), PATH, { prompt: "x" });
  assertOpenAiError(reply, 503, { type: "overloaded", code: "loading", message: "Loading model" });
  assert.equal(reply.headers.get("retry-after"), "2");
});
