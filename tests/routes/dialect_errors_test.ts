// What an engine refuses and what fails, in every dialect, to the byte: status, type and body of each error, before a reply
// and within a stream. Which fields are wrong in which way is tested with each route.
import assert from "node:assert/strict";
import { EngineUnavailableError, InvalidRequestError } from "../../engine/errors.ts";
import { fimUnsupportedError } from "../../engine/validate_request.ts";
import { createApp } from "../../routes/app.ts";
import type { DialectName } from "./dialect_bodies.ts";
import { ALL_DIALECTS, assertError, expected, type Family, type Wording } from "./dialect_wording.ts";
import { FakeEngine } from "./fake_engine.ts";
import { openApp, post } from "./requests.ts";

/** The dialect's word for its prompt, and for what makes it an infill. */
const PROMPTS: Readonly<Record<DialectName, readonly [prompt: string, suffix: string]>> = {
  ...{ openai: ["prompt", "suffix"], "openai fim": ["prompt", "suffix"] },
  ...{ "llama infill": ["prompt", "input_suffix"], "llama completion": ["prompt", "input_suffix"] },
  ...{ tgi: ["inputs", "inputs"], "tgi root": ["inputs", "inputs"] },
  ...{ ollama: ["prompt", "suffix"], tabby: ["segments", "segments.suffix"] },
};

const TOO_LONG = "must be at most 2047 tokens, received 9001";
const TOKENS = { prompt: 9001, context: 2048 };

interface Case {
  readonly error: Error;
  readonly message: (name: DialectName) => string;
  readonly param: (name: DialectName) => string | null;
  readonly wording: Wording;
  readonly retryAfter?: string;
}

/** What an engine says, and what a client reads. */
const CASES: Readonly<Record<string, Case>> = {
  "the queue is full": {
    error: new EngineUnavailableError("The queue is full", "queue_full", 2.5),
    message: () => "The queue is full",
    param: () => null,
    wording: {
      openai: { status: 429, type: "rate_limit_exceeded", code: "rate_limit_exceeded" },
      llama: { status: 429, type: "unavailable_error" },
      tgi: { status: 429, type: "overloaded" },
      ...{ ollama: 503, tabby: 429 },
    },
    retryAfter: "3",
  },
  "the model is being loaded": {
    error: new EngineUnavailableError("Loading model", "loading", 1),
    message: () => "Loading model",
    param: () => null,
    wording: {
      openai: { status: 503, type: "overloaded", code: "loading" },
      llama: { status: 503, type: "unavailable_error" },
      tgi: { status: 503, type: "unhealthy" },
      ...{ ollama: 503, tabby: 503 },
    },
    retryAfter: "1",
  },
  "the prompt is too long": {
    error: new InvalidRequestError(`Cannot admit request: prompt ${TOO_LONG}`, {
      ...{ field: "prompt", reason: "context_length_exceeded", tokens: TOKENS },
    }),
    message: (name) => {
      const [prompt] = PROMPTS[name];
      return `Cannot admit request: ${prompt === "prompt" ? prompt : `"${prompt}"`} ${TOO_LONG}`;
    },
    param: (name) => PROMPTS[name][0],
    wording: {
      openai: { status: 400, type: "invalid_request_error", code: "context_length_exceeded" },
      llama: {
        ...{ status: 400, type: "exceed_context_size_error", more: { n_prompt_tokens: 9001, n_ctx: 2048 } },
      },
      tgi: { status: 422, type: "validation" },
      ...{ ollama: 400, tabby: 400 },
    },
  },
  "the model fills in nothing": {
    error: fimUnsupportedError(["prefix"]),
    message: () => "Infill is not supported by this model: prefix token is missing.",
    param: (name) => PROMPTS[name][1],
    wording: {
      openai: { status: 400, type: "invalid_request_error", code: "fim_unsupported" },
      llama: { status: 501, type: "not_supported_error" },
      tgi: { status: 422, type: "validation" },
      ...{ ollama: 400, tabby: 501 },
    },
  },
  "the server is at fault": {
    error: new Error("secret"),
    message: () => "Internal server error",
    param: () => null,
    wording: {
      openai: { status: 500, type: "server_error", code: "internal_error" },
      llama: { status: 500, type: "server_error" },
      tgi: { status: 500, type: "incomplete_generation" },
      ...{ ollama: 500, tabby: 500 },
    },
  },
};

for (const [kind, { error, message, param, wording, retryAfter }] of Object.entries(CASES)) {
  Deno.test(`every dialect has its own words when ${kind}, whole and before a stream begins`, async () => {
    const app = createApp(new FakeEngine({ failure: { at: 0, error } }), {
      apiKeys: [],
      reportError: () => {},
    });
    for (const { name, family, path, body, stream } of ALL_DIALECTS) {
      const wanted = expected(family, wording, message(name), param(name));
      const ways = [
        { path, body },
        ...(stream ? [{ path, ...stream, body: { ...body, ...stream.body } }] : []),
      ];
      for (const way of ways) {
        const reply = await post(app, way.path, way.body);
        assertError(reply, family, wanted, name);
        assert.equal(reply.headers.get("retry-after"), retryAfter ?? null, name);
      }
    }
  });
}

/** What the client calls a part of the engine's request; undefined where it has no such field. */
const NAMES: Readonly<Record<string, Partial<Record<Family, string>>>> = {
  maxTokens: {
    ...{ openai: "max_tokens", llama: "n_predict" },
    ...{ tgi: "parameters.max_new_tokens", ollama: "options.num_predict" },
  },
  temperature: {
    ...{ openai: "temperature", llama: "temperature", tabby: "temperature" },
    ...{ tgi: "parameters.temperature", ollama: "options.temperature" },
  },
  n: { openai: "n", llama: "n_cmpl", tgi: "parameters.best_of" },
  topK: { openai: "top_k", llama: "top_k", tgi: "parameters.top_k", ollama: "options.top_k" },
  minP: { openai: "min_p", llama: "min_p", ollama: "options.min_p" },
  logprobs: {
    ...{ openai: "logprobs", llama: "n_probs" },
    ...{ tgi: "parameters.top_n_tokens", ollama: "top_logprobs" },
  },
  stop: { openai: "stop", llama: "stop", tgi: "parameters.stop", ollama: "options.stop" },
  logitBias: { openai: "logit_bias", llama: "logit_bias" },
  keep: { tgi: "parameters.truncate" },
  before: { ollama: "context" },
};

Deno.test("every dialect names the field that its clients send, not the engine's", async () => {
  const engine = new FakeEngine(), app = openApp(engine);
  for (const [field, names] of Object.entries(NAMES)) {
    const complaint = `Cannot admit request: ${field} must be less, received ${field}`;
    const error = new InvalidRequestError(complaint, { field, reason: "invalid_value" });
    engine.script = { failure: { at: 0, error } };
    for (const { name, family, path, body } of ALL_DIALECTS) {
      const wire = names[family];
      if (wire === undefined) continue;
      const { text } = await post(app, path, body);
      const told = JSON.stringify(wire === field ? field : `"${wire}"`).slice(1, -1);
      const shown = family === "tabby" ? JSON.parse(`"${told}"`) : told;
      assert.ok(
        text.includes(`Cannot admit request: ${shown} must be less, received ${field}`),
        `${name}: ${text}`,
      );
      if (family === "openai" || family === "llama") {
        assert.equal(JSON.parse(text).error.param, wire, `${name}: ${field}`);
      }
    }
  }
});

/** The last frame, after which the body ends: no dialect says that the stream is done. */
const LAST_FRAMES: Readonly<Record<Exclude<Family, "tabby">, string>> = {
  openai:
    'data: {"error":{"message":"The device was lost","type":"overloaded","param":null,"code":"device_lost"}}\n\n',
  llama:
    'data: {"error":{"code":503,"message":"The device was lost","type":"unavailable_error","param":null}}\n\n',
  tgi: 'data:{"error":"The device was lost","error_type":"unhealthy"}\n\n',
  ollama: '{"error":"The device was lost"}\n',
};

Deno.test("every dialect's stream that fails half-way has what there was, and ends with the error in its frame", async () => {
  const error = new EngineUnavailableError("The device was lost", "device_lost");
  const app = openApp(new FakeEngine({ tokens: ["first", "second"], failure: { at: 2, error } }));
  for (const { name, family, path, body, stream } of ALL_DIALECTS) {
    if (!stream || family === "tabby") continue;
    const { status, text } = await post(app, stream.path ?? path, { ...body, ...stream.body });
    assert.equal(status, 200, name);
    assert.match(text, /first/, name);
    assert.ok(text.endsWith(LAST_FRAMES[family]), `${name}: ${text}`);
    assert.equal(text.split("error").length, LAST_FRAMES[family].split("error").length, `${name}: told once`);
  }
});
