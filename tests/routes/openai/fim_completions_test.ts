import assert from "node:assert/strict";
import { EngineUnavailableError } from "../../../engine/errors.ts";
import { CODE_RULES } from "../../../engine/output_rules.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";
import { assertOpenAiError, eventData, openApp, post, type Reply } from "../requests.ts";

const PATH = "/v1/fim/completions";

async function complete(script: Script, body: Record<string, unknown> = {}): Promise<Reply> {
  return await post(openApp(new FakeEngine(script)), PATH, { prompt: "p", suffix: "s", ...body });
}

Deno.test("/v1/fim/completions reads Codestral's fields, and those that we have added", async () => {
  const engine = new FakeEngine();
  const body = {
    prompt: "p",
    model: "fake/model-1",
    random_seed: 5,
    stop: ["x"],
    min_tokens: 1,
    clean: true,
    n: 4,
  };
  const { status, text } = await post(openApp(engine), PATH, { ...body, extra: [{ text: "e" }] });
  assert.equal(status, 200, text);
  const [{ prompt, maxTokens, temperature, seed, stop, n, outputRules }] = engine.requests as [
    typeof engine.requests[0],
  ];
  assert.deepEqual(prompt, { kind: "infill", prefix: "p", suffix: "", extra: [{ text: "e" }] });
  assert.deepEqual([maxTokens, temperature, seed, stop, n], [256, 0.7, 5, ["x"], 1]);
  assert.deepEqual(outputRules, CODE_RULES);
});

Deno.test("/v1/fim/completions answers in the shape of a chat's message", async () => {
  const { json } = await complete({ tokens: ["a", "b"], heldBack: "c" });
  assert.equal(json.object, "chat.completion");
  assert.deepEqual(json.choices, [{
    index: 0,
    finish_reason: "stop",
    message: { role: "assistant", content: "abc" },
  }]);
  assert.deepEqual([json.usage.prompt_tokens, json.usage.completion_tokens], [2, 2]);
});

Deno.test("/v1/fim/completions streams deltas, the last with the usage, and ends with [DONE]", async () => {
  const data = eventData((await complete({ tokens: ["a", "b"] }, { stream: true })).text);
  assert.equal(data.pop(), "[DONE]");
  const chunks = data.map((part) => JSON.parse(part));
  assert.deepEqual(chunks.map(({ choices: [{ delta }] }) => delta.content), ["a", "b", ""]);
  assert.deepEqual(chunks.map(({ choices: [{ finish_reason }] }) => finish_reason), [null, null, "stop"]);
  assert.ok(chunks.every(({ object }) => object === "chat.completion.chunk"));
  assert.equal(chunks.at(-1).usage.completion_tokens, 2);
});

Deno.test("/v1/fim/completions tells errors as OpenAI does, also in the middle of a stream", async () => {
  assertOpenAiError(await complete({}, { prompt: ["a"] }), 400, {
    param: "prompt",
    message: /must be a string/,
  });
  for (const random_seed of ["x", 1.5]) {
    assertOpenAiError(await complete({}, { random_seed }), 400, {
      param: "random_seed",
      message: /^"random_seed" must be /,
    });
  }
  assertOpenAiError(await complete({}, { response_format: {} }), 400, {
    param: "response_format.type",
    message: /^"response_format.type" is required, and must be one of "text"/,
  });
  assertOpenAiError(await complete({}, { model: "codestral" }), 404, { code: "model_not_found" });
  assertOpenAiError(await complete({}, { scope: "word" }), 400, { param: "scope" });
  const error = new EngineUnavailableError("The device was lost", "device_lost");
  const data = eventData((await complete({ failure: { at: 2, error } }, { stream: true })).text);
  assert.match(data.at(-1)!, /^\{"error":\{"message":"The device was lost"/);
});
