import assert from "node:assert/strict";
import { EngineUnavailableError, InvalidRequestError } from "../../../engine/errors.ts";
import { fimUnsupportedError } from "../../../engine/validate_request.ts";
import { CODE_RULES, NO_RULES } from "../../../engine/output_rules.ts";
import type { GenerationRequest } from "../../../engine/request.ts";
import { createApp } from "../../../routes/app.ts";
import { completionReply } from "../../../routes/openai/completion_schema.ts";
import { until } from "../delay.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";
import { assertOpenAiError, eventData, openApp, post, type Reply } from "../requests.ts";

const PATH = "/v1/completions";

/** Sends a body and returns what the engine was asked. */
async function submitted(body: Record<string, unknown>): Promise<GenerationRequest[]> {
  const engine = new FakeEngine();
  const reply = await post(openApp(engine), PATH, { prompt: "x", ...body });
  assert.equal(reply.status, 200, reply.text);
  return engine.requests;
}

async function complete(script: Script, body: Record<string, unknown>): Promise<Reply> {
  return await post(openApp(new FakeEngine(script)), PATH, { prompt: "x", ...body });
}

const DEFAULTS: GenerationRequest = {
  prompt: { kind: "text", text: "x", parseSpecial: true },
  maxTokens: 16,
  n: 1,
  temperature: 1,
  topP: 1,
  presencePenalty: 0,
  frequencyPenalty: 0,
  ignoreEos: false,
  echoPrompt: false,
};

const ACCEPTED: [name: string, body: Record<string, unknown>, expected: Partial<GenerationRequest>][] = [
  ["defaults", {}, {}],
  [
    "null means absent",
    { max_tokens: null, temperature: null, stop: null, suffix: null, logprobs: null, stream_options: null },
    {},
  ],
  ["unknown fields are ignored", { repetition_penalty: 1.1, nonsense: { deep: [1] } }, {}],
  ["prompt tokens", { prompt: [1, 2, 3] }, { prompt: { kind: "tokens", ids: [1, 2, 3] } }],
  ["an empty prompt begins a document", { prompt: "" }, { prompt: { kind: "tokens", ids: [0] } }],
  ["suffix", { prompt: "a", suffix: "b" }, { prompt: { kind: "infill", prefix: "a", suffix: "b" } }],
  ["empty suffix", { prompt: "a", suffix: "" }, { prompt: { kind: "infill", prefix: "a", suffix: "" } }],
  ["fim_layout", { prompt: "a", suffix: "b", fim_layout: "spm" }, {
    prompt: { kind: "infill", prefix: "a", suffix: "b", layout: "spm" },
  }],
  ["clean", { clean: true }, { outputRules: CODE_RULES }],
  ['clean "code"', { clean: "code" }, { outputRules: CODE_RULES }],
  ["clean false, whatever the server's", { clean: false }, { outputRules: NO_RULES }],
  ["single rules", { scope: "line", trim_suffix: true }, {
    outputRules: { scope: "line", trimSuffix: true },
  }],
  ["all rules but one", { clean: true, trim_blanks: false, scope: "block" }, {
    outputRules: { ...CODE_RULES, trimBlanks: false, scope: "block" },
  }],
  ["no rule, with logprobs", { clean: false, scope: "none", logprobs: 1 }, {
    outputRules: NO_RULES,
    logprobs: 1,
  }],
  ["max_tokens", { max_tokens: 0 }, { maxTokens: 0 }],
  ["temperature", { temperature: 0.25 }, { temperature: 0.25 }],
  ["top_p", { top_p: 0.5 }, { topP: 0.5 }],
  ["top_k", { top_k: 5 }, { topK: 5 }],
  ["top_k -1 is off", { top_k: -1 }, {}],
  ["top_k 0 is off", { top_k: 0 }, {}],
  ["min_p", { min_p: 0.05 }, { minP: 0.05 }],
  ["n", { n: 3 }, { n: 3 }],
  ["best_of equal to n", { n: 2, best_of: 2 }, { n: 2 }],
  ["best_of above n, which draws them and has them ranked", { n: 2, best_of: 5, token_healing: true }, {
    n: 5,
    rankSamples: true,
    tokenHealing: true,
  }],
  ["best_of with logprobs", { best_of: 3, logprobs: 2 }, { n: 3, logprobs: 2, rankSamples: true }],
  ["best_of without new tokens", { best_of: 3, max_tokens: 0 }, { maxTokens: 0 }],
  ["other files, and its own name", {
    prompt: "p",
    suffix: "",
    extra: [{ text: "a", filename: "a.py", time: 1 }, { text: "b", filename: null }],
    filename: "src/c.py",
  }, {
    prompt: {
      kind: "infill",
      prefix: "p",
      suffix: "",
      extra: [{ text: "a", filename: "a.py" }, { text: "b" }],
      filename: "src/c.py",
    },
  }],
  ["stop string", { stop: "\n" }, { stop: ["\n"] }],
  ["stop list of more than four", { stop: ["a", "b", "c", "d", "e"] }, { stop: ["a", "b", "c", "d", "e"] }],
  ["empty stop strings", { stop: ["", "a"] }, { stop: ["a"] }],
  ["seed", { seed: 7 }, { seed: 7 }],
  ["seed 0", { seed: 0 }, { seed: 0 }],
  ["negative seed", { seed: -1 }, { seed: 2 ** 52 - 1 }],
  ["largest seed", { seed: 2 ** 63 - 1024 }, { seed: 2 ** 52 - 1024 }],
  ["echo", { echo: true }, { echoPrompt: true }],
  ["logprobs 0", { logprobs: 0 }, { logprobs: 0 }],
  ["logprobs 20", { logprobs: 20 }, { logprobs: 20 }],
  ["penalties", { presence_penalty: -2, frequency_penalty: 2 }, { presencePenalty: -2, frequencyPenalty: 2 }],
  ["logit_bias", { logit_bias: { "50": -100, "7": 1.5, "8": null } }, {
    logitBias: [{ id: 7, delta: 1.5 }, { id: 50, delta: -100 }],
  }],
  ["ignore_eos", { ignore_eos: true }, { ignoreEos: true }],
  ["cache_prompt", { cache_prompt: false }, { cachePrompt: false }],
  ["cache_salt", { cache_salt: "me" }, { cacheSalt: "me" }],
  ["user", { user: "somebody" }, {}],
  ["empty model", { model: "" }, {}],
  ["the served model", { model: "fake/model-1" }, {}],
];

for (const [name, body, expected] of ACCEPTED) {
  Deno.test(`/v1/completions reads ${name}`, async () => {
    assert.deepEqual(await submitted(body), [{ ...DEFAULTS, ...expected }]);
  });
}

const REJECTED: [body: unknown, param: string | null, message: RegExp][] = [
  [{}, "prompt", /^"prompt" is required$/],
  [{ prompt: null }, "prompt", /^"prompt" is required$/],
  [{ prompt: 3 }, "prompt", /"prompt" must be a string, an array of strings.* such arrays, received 3$/],
  [{ prompt: [] }, "prompt", /must be a string/],
  [{ prompt: [[]] }, "prompt", /must be a string/],
  [{ prompt: ["a", 1] }, "prompt", /must be a string/],
  [{ prompt: [1, -1] }, "prompt", /must be a string/],
  [{ prompt: [1, 1.5] }, "prompt", /must be a string/],
  [{ prompt: [[1], ["a"]] }, "prompt", /must be a string/],
  [{ prompt: Array(257).fill("a") }, "prompt", /at most 256 completions together, received 257: send sev/],
  [{ prompt: ["a", "b", "c"], n: 128 }, "prompt", /at most 256 completions together, received 384/],
  [{ clean: "all" }, "clean", /^"clean" must be true, false or "code", received "all"$/],
  [{ scope: "word" }, "scope", /^"scope" must be one of "line", "block", "auto", "none", received "word"$/],
  [{ clean: true, logprobs: 0 }, "clean", /^"clean" cannot be combined with "logprobs".*: leave one out$/],
  [{ n_indent: 4, echo: true }, "n_indent", /^"n_indent" cannot be combined with "echo"/],
  [{ prompt: [1], suffix: "b" }, "prompt", /must be text when "suffix" is given/],
  [{ suffix: 1 }, "suffix", /"suffix" must be a string, received 1/],
  [{ fim_layout: "msp" }, "fim_layout", /must be one of "psm", "spm", received "msp"/],
  [{ max_tokens: -1 }, "max_tokens", /"max_tokens" must be at least 0, received -1/],
  [{ max_tokens: "16" }, "max_tokens", /must be a number, received "16"/],
  [{ max_tokens: 1.5 }, "max_tokens", /must be an integer, received 1.5/],
  [{ temperature: -0.1 }, "temperature", /must be at least 0/],
  [{ temperature: 2.1 }, "temperature", /must be at most 2, received 2.1/],
  [{ temperature: "hot" }, "temperature", /must be a number, received "hot"/],
  [{ top_p: 1.01 }, "top_p", /must be at most 1/],
  [{ top_p: -1 }, "top_p", /must be at least 0/],
  [{ top_k: -2 }, "top_k", /must be at least -1/],
  [{ min_p: 2 }, "min_p", /must be at most 1/],
  [{ n: 0 }, "n", /must be at least 1/],
  [{ n: 129 }, "n", /must be at most 128/],
  [{ n: 2, best_of: 1 }, "best_of", /must be at least "n" \(2\), received 1/],
  [{ best_of: 3, stream: true }, "best_of", /above "n" cannot be combined with "stream"/],
  [{ best_of: 21 }, "best_of", /at most 20/],
  [{ prompt: Array(100).fill("a"), best_of: 3 }, "prompt", /at most 256 completions together, received 300/],
  [{ extra: [{ text: "a" }] }, "extra", /^"extra" needs "suffix": send "" where nothing follows/],
  [{ filename: "a.py" }, "filename", /^"filename" needs "suffix"/],
  [{ suffix: "", extra: [{ filename: "a" }] }, "extra[0].text", /must hold objects with a "text"/],
  [{ suffix: "", extra: ["a"] }, "extra[0]", /must hold objects with a "text"/],
  [{ suffix: "", extra: Array(4097).fill({ text: "" }) }, "extra", /at most 4096 items/],
  [{ stop: 1 }, "stop", /must be a string or an array of at most 128 strings, received 1$/],
  [{ stop: ["a", 1] }, "stop", /must be a string or an array/],
  [{ stop: Array(5000).fill(1) }, "stop", /must have at most 4096 items, received 5000/],
  [{ seed: 1.5 }, "seed", /"seed" must be an integer/],
  [{ seed: "1" }, "seed", /must be a number/],
  [{ seed: 1e20 }, "seed", /must be at most/],
  [{ stream: "yes" }, "stream", /must be true or false, received "yes"/],
  [{ stream_options: { include_usage: true } }, "stream_options", /only allowed when "stream" is true/],
  [{ stream: true, stream_options: { include_usage: 1 } }, "stream_options.include_usage", /true or false/],
  [{ stream: true, stream_options: true }, "stream_options", /must be an object, received true/],
  [{ echo: 1 }, "echo", /true or false/],
  [{ echo: true, suffix: "b" }, "echo", /cannot be combined with "suffix"/],
  [{ logprobs: 21 }, "logprobs", /at most 20/],
  [{ logprobs: true }, "logprobs", /must be a number, received true/],
  [{ presence_penalty: 3 }, "presence_penalty", /at most 2/],
  [{ frequency_penalty: -3 }, "frequency_penalty", /at least -2/],
  [{ logit_bias: { "5": 101 } }, "logit_bias.5", /at most 100/],
  [{ logit_bias: { word: 1 } }, "logit_bias.word", /must have token ids for keys/],
  [
    { guided_choice: [] },
    "guided_choice",
    /^"guided_choice" must be an array of at least 1 item, received an arr/,
  ],
  [{ guided_choice: [""] }, "guided_choice[0]", /must be at least 1 character long, received ""$/],
  [
    { guided_json: 3 },
    "guided_json",
    /^"guided_json" must be a JSON schema \(.*\), or one as JSON text, received 3$/,
  ],
  [
    { structured_outputs: { foo: 1 } },
    "structured_outputs",
    /must have one of "regex", "json", .*, received "foo"$/,
  ],
  [
    { structured_outputs: {} },
    "structured_outputs",
    /^"structured_outputs" must have one of .*, received none that/,
  ],
  [
    { structured_outputs: { json_object: false } },
    "structured_outputs",
    /received none that asks for anything/,
  ],
  [{ structured_outputs: { regex: 1 } }, "structured_outputs.regex", /must be a string, received 1/],
  [
    { token_healing: true, logprobs: 0 },
    "token_healing",
    /cannot be combined with "logprobs", .* leave one out$/,
  ],
  [{ logit_bias: [1] }, "logit_bias", /must be an object, received an array of 1/],
  [{ user: 5 }, "user", /must be a string/],
  [{ model: 5 }, "model", /must be a string/],
  [{ suffix: "x".repeat(90), fim_layout: "x".repeat(90) }, "fim_layout", /received "x{59}…$/],
];

for (const [body, param, message] of REJECTED) {
  Deno.test(`/v1/completions rejects ${JSON.stringify(body).slice(0, 60)}`, async () => {
    const engine = new FakeEngine();
    const needsPrompt = param !== "prompt";
    const reply = await post(openApp(engine), PATH, needsPrompt ? { prompt: "x", ...body as object } : body);
    assertOpenAiError(reply, 400, { type: "invalid_request_error", param, message });
    assert.equal(engine.requests.length, 0);
  });
}

Deno.test("/v1/completions answers in OpenAI's shape, compact and on one line", async () => {
  const reply = await complete({ tokens: ["he", "llo"], heldBack: "!" }, {});
  assert.equal(reply.status, 200);
  const { id, created, ...rest } = reply.json;
  assert.match(id, /^cmpl-[\w-]+$/);
  assert.ok(Math.abs(created - Date.now() / 1000) < 60);
  assert.deepEqual(rest, {
    object: "text_completion",
    model: "fake/model-1",
    system_fingerprint: "fp_hyades_cpu",
    choices: [{ text: "hello!", index: 0, logprobs: null, finish_reason: "stop" }],
    usage: {
      prompt_tokens: 1,
      completion_tokens: 2,
      total_tokens: 3,
      prompt_tokens_details: { cached_tokens: 0 },
    },
    timings: {
      cache_n: 0,
      prompt_n: 1,
      prompt_ms: 20,
      prompt_per_token_ms: 20,
      prompt_per_second: 50,
      predicted_n: 2,
      predicted_ms: 50,
      predicted_per_token_ms: 25,
      predicted_per_second: 40,
    },
  });
  assert.equal(reply.text, JSON.stringify(reply.json));
  completionReply.strict().parse(reply.json);
});

for (
  const [reason, expected] of [["eos", "stop"], ["stop", "stop"], ["rule", "stop"], [
    "length",
    "length",
  ]] as const
) {
  Deno.test(`/v1/completions calls the engine's "${reason}" ${expected}`, async () => {
    const reply = await complete({ reason }, {});
    assert.equal(reply.json.choices[0].finish_reason, expected);
  });
}

Deno.test("/v1/completions names the layout of an infill where its choice ends, plain and streamed", async () => {
  const script = { layout: "spm" } as const;
  const plain = await complete(script, { suffix: "s" });
  assert.equal(plain.json.choices[0].fim_layout, "spm");
  const streamed = await complete(script, { suffix: "s", stream: true });
  const chunks = eventData(streamed.text).slice(0, -1).map((chunk) => JSON.parse(chunk));
  const layouts = chunks.map(({ choices }) => choices[0].fim_layout);
  assert.deepEqual([layouts.at(-1), new Set(layouts.slice(0, -1))], ["spm", new Set([undefined])]);
});

Deno.test("/v1/completions says that an infill's prompt was cut, and nothing where it was not", async () => {
  const { json: cut } = await complete({ layout: "psm", truncated: true }, { suffix: "s" });
  assert.equal(cut.choices[0].truncated, true);
  const { json: whole } = await complete({ layout: "psm" }, { suffix: "s" });
  assert.ok(!("truncated" in whole.choices[0]));
});

Deno.test("/v1/completions names the rules that acted where its choice ends, plain and streamed", async () => {
  const script: Script = { reason: "rule", rules: ["scope", "trim_suffix"] };
  const plain = await complete(script, { clean: true });
  completionReply.parse(plain.json);
  assert.deepEqual(plain.json.choices[0].cleaned, ["scope", "trim_suffix"]);
  const streamed = await complete(script, { clean: true, stream: true });
  const chunks = eventData(streamed.text).slice(0, -1).map((data) => JSON.parse(data));
  assert.deepEqual(chunks.at(-1).choices[0].cleaned, ["scope", "trim_suffix"]);
  assert.equal("cleaned" in chunks[0].choices[0], false);
  assert.equal("cleaned" in (await complete({}, {})).json.choices[0], false);
});

Deno.test("/v1/completions says so when the text is what an earlier completion had left", async () => {
  const { json } = await complete({ cachedCompletion: true }, {});
  completionReply.parse(json);
  assert.equal(json.choices[0].cached_completion, true);
  assert.equal("cached_completion" in (await complete({}, {})).json.choices[0], false);
});

Deno.test("/v1/completions counts cached tokens once a prompt", async () => {
  const engine = new FakeEngine({ cachedTokens: 2 });
  const reply = await post(openApp(engine), PATH, { prompt: ["abc", "cde"], n: 3, max_tokens: 2 });
  assert.deepEqual(reply.json.usage.prompt_tokens_details, { cached_tokens: 4 });
});

Deno.test("/v1/completions adds up the drafts of all samples, by OpenAI's names and llama.cpp's", async () => {
  const engine = new FakeEngine({ drafts: { drafted: 5, accepted: 2 } });
  const asked = { prompt: ["abc", "cde"], n: 2, max_tokens: 2, speculation: true };
  const { json } = await post(openApp(engine), PATH, asked);
  completionReply.parse(json);
  const details = { accepted_prediction_tokens: 8, rejected_prediction_tokens: 12 };
  assert.deepEqual(json.usage.completion_tokens_details, details);
  assert.deepEqual([json.timings.draft_n, json.timings.draft_n_accepted], [20, 8]);
  assert.equal(engine.requests[0].speculation, true);
  assert.equal("completion_tokens_details" in (await complete({}, {})).json.usage, false);
});

Deno.test("/v1/completions numbers several prompts' samples prompt * n + k", async () => {
  const engine = new FakeEngine();
  const reply = await post(openApp(engine), PATH, { prompt: ["ab", "cde"], n: 2, max_tokens: 2, echo: true });
  assert.deepEqual(
    reply.json.choices.map(({ index, text }: { index: number; text: string }) => [index, text]),
    [[0, "abab"], [1, "abab"], [2, "cdeab"], [3, "cdeab"]],
  );
  assert.deepEqual(reply.json.usage, {
    prompt_tokens: 5,
    completion_tokens: 8,
    total_tokens: 13,
    prompt_tokens_details: { cached_tokens: 0 },
  });
  assert.equal(engine.requests.length, 2);
});

Deno.test("/v1/completions orders choices by index, whichever prompt is done first", async () => {
  const engine = new FakeEngine(({ prompt }) => {
    const text = prompt.kind === "text" ? prompt.text : "";
    return { tokens: [text.toUpperCase()], tokenDelayMs: text === "slow" ? 20 : 0 };
  });
  const reply = await post(openApp(engine), PATH, { prompt: ["slow", "fast"] });
  assert.deepEqual(reply.json.choices.map(({ text }: { text: string }) => text), ["SLOW", "FAST"]);
});

Deno.test("/v1/completions is cancelled when a server in between drops the body of a stream", async () => {
  const engine = new FakeEngine({ tokens: Array(1000).fill("a"), tokenDelayMs: 5 });
  const response = await openApp(engine).request(PATH, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ prompt: "x", max_tokens: 1000, stream: true }),
  });
  await response.body!.cancel();
  await until(() => engine.cancelled === 1, "the request is cancelled");
});

Deno.test("/v1/completions takes several token prompts", async () => {
  const requests = await submitted({ prompt: [[1, 2], [3]] });
  assert.deepEqual(requests.map(({ prompt }) => prompt), [
    { kind: "tokens", ids: [1, 2] },
    { kind: "tokens", ids: [3] },
  ]);
});

Deno.test("/v1/completions with several prompts and a suffix infills each", async () => {
  const requests = await submitted({ prompt: ["a", "b"], suffix: "c" });
  assert.deepEqual(requests.map(({ prompt }) => prompt), [
    { kind: "infill", prefix: "a", suffix: "c" },
    { kind: "infill", prefix: "b", suffix: "c" },
  ]);
});

Deno.test("/v1/completions reports logprobs with the drawn token among the likeliest", async () => {
  const reply = await complete({ tokens: ["é", "𝒳y", "z"] }, { logprobs: 1 });
  assert.deepEqual(reply.json.choices[0].logprobs, {
    tokens: ["é", "𝒳y", "z"],
    token_logprobs: [-0.25, -0.25, -0.25],
    top_logprobs: [{ A: -1, "é": -0.25 }, { A: -1, "𝒳y": -0.25 }, { A: -1, z: -0.25 }],
    text_offset: [0, 1, 3],
  });
});

Deno.test("/v1/completions writes a log-probability of -Infinity as -9999", async () => {
  const reply = await complete({ tokens: ["a"], logprob: -Infinity }, { logprobs: 0 });
  assert.deepEqual(reply.json.choices[0].logprobs.token_logprobs, [-9999]);
  assert.deepEqual(reply.json.choices[0].logprobs.top_logprobs, [{ a: -9999 }]);
});

Deno.test("/v1/completions reports logprobs of no token as empty lists, and none where none were asked for", async () => {
  const asked = await complete({ tokens: [] }, { logprobs: 1 });
  const empty = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  assert.deepEqual(asked.json.choices[0].logprobs, empty);
  assert.equal((await complete({ tokens: [] }, {})).json.choices[0].logprobs, null);
});

Deno.test("/v1/completions scores a prompt: echo, max_tokens 0, logprobs", async () => {
  const reply = await complete({}, { prompt: "def", echo: true, max_tokens: 0, logprobs: 1 });
  assert.deepEqual(reply.json.choices, [{
    text: "def",
    index: 0,
    logprobs: {
      tokens: ["d", "e", "f"],
      token_logprobs: [null, -0.5, -0.5],
      top_logprobs: [null, { A: -1, e: -0.5 }, { A: -1, f: -0.5 }],
      text_offset: [0, 1, 2],
    },
    finish_reason: "length",
  }]);
});

Deno.test("/v1/completions echoes an empty prompt as nothing, not as the token that stands for it", async () => {
  const reply = await complete({ tokens: ["a"] }, { prompt: "", echo: true, logprobs: 0 });
  assert.equal(reply.json.choices[0].text, "a");
  assert.deepEqual(reply.json.choices[0].logprobs.tokens, ["a"]);
});

Deno.test("/v1/completions counts offsets from the start of an echoed prompt", async () => {
  const reply = await complete({ tokens: ["a", "b"] }, { prompt: "def", echo: true, logprobs: 0 });
  assert.deepEqual(reply.json.choices[0].logprobs.text_offset, [0, 1, 2, 3, 4]);
  assert.equal(reply.json.choices[0].text, "defab");
});

Deno.test("/v1/completions streams chunks, then [DONE]", async () => {
  const reply = await complete({ tokens: ["a", "", "b"], heldBack: "c" }, { stream: true });
  assert.equal(reply.status, 200);
  assert.equal(reply.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const data = eventData(reply.text);
  assert.equal(data.pop(), "[DONE]");
  const chunks = data.map((chunk) => JSON.parse(chunk));
  for (const chunk of chunks) {
    completionReply.strict().parse(chunk);
    assert.equal(chunk.id, chunks[0].id);
    assert.equal("usage" in chunk, false);
    assert.equal(chunk.timings?.predicted_n, chunk === chunks.at(-1) ? 3 : undefined);
  }
  assert.deepEqual(chunks.map(({ choices }) => choices), [
    [{ text: "a", index: 0, logprobs: null, finish_reason: null }],
    [{ text: "b", index: 0, logprobs: null, finish_reason: null }],
    [{ text: "c", index: 0, logprobs: null, finish_reason: "stop" }],
  ]);
});

Deno.test("/v1/completions ends a stream with the usage when asked", async () => {
  const reply = await complete({}, { stream: true, stream_options: { include_usage: true } });
  const chunks = eventData(reply.text).slice(0, -1).map((chunk) => JSON.parse(chunk));
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.deepEqual(last.usage, {
    prompt_tokens: 1,
    completion_tokens: 3,
    total_tokens: 4,
    prompt_tokens_details: { cached_tokens: 0 },
  });
  for (const chunk of chunks) assert.equal(chunk.usage, null);
});

Deno.test("/v1/completions streams the same text, logprobs and ends as it answers at once", async () => {
  const body = { prompt: ["p", "qr"], n: 2, echo: true, logprobs: 2 };
  const script: Script = { tokens: ["a", "bc"], heldBack: "d" };
  const plain = await complete(script, body);
  const streamed = eventData((await complete(script, { ...body, stream: true })).text).slice(0, -1);
  const texts = ["", "", "", ""];
  const offsets: number[][] = [[], [], [], []];
  for (const chunk of streamed.map((data) => JSON.parse(data))) {
    const [choice] = chunk.choices;
    texts[choice.index] += choice.text;
    offsets[choice.index]!.push(...choice.logprobs?.text_offset ?? []);
  }
  assert.deepEqual(texts, plain.json.choices.map((choice: { text: string }) => choice.text));
  assert.deepEqual(
    offsets,
    plain.json.choices.map((choice: { logprobs: { text_offset: number[] } }) => choice.logprobs.text_offset),
  );
});

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

Deno.test("/v1/completions sends the best of what it drew, for each prompt, without scores nobody asked for", async () => {
  const script = { tokens: ["x"], sampleLogprobs: [-3, -1, -4, -0.5] };
  const { json } = await complete(script, { prompt: ["p", "q"], n: 2, best_of: 4 });
  assert.deepEqual(
    json.choices.map(({ index, text, logprobs }: Record<string, unknown>) => [index, text, logprobs]),
    [[0, "x3", null], [1, "x1", null], [2, "x3", null], [3, "x1", null]],
  );
  assert.equal(json.usage.completion_tokens, 8);
  completionReply.parse(json);
  const shown = await complete(script, { best_of: 4, logprobs: 0 });
  assert.deepEqual(shown.json.choices[0].logprobs.token_logprobs, [-0.5]);
});
