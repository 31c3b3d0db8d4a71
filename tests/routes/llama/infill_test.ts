import assert from "node:assert/strict";
import { EngineUnavailableError, InvalidRequestError } from "../../../engine/errors.ts";
import { fimUnsupportedError } from "../../../engine/validate_request.ts";
import { CODE_RULES } from "../../../engine/output_rules.ts";
import type { GenerationRequest } from "../../../engine/request.ts";
import { nativeReply } from "../../../routes/llama/generation_schema.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";
import { eventData, openApp, post, type Reply } from "../requests.ts";

const HOLE = { input_prefix: "p", input_suffix: "s" };

async function infill(script: Script, body: Record<string, unknown> = {}): Promise<Reply> {
  return await post(openApp(new FakeEngine(script)), "/infill", { ...HOLE, ...body });
}

async function submitted(body: Record<string, unknown>): Promise<GenerationRequest> {
  const engine = new FakeEngine();
  const reply = await post(openApp(engine), "/infill", { ...HOLE, ...body });
  assert.equal(reply.status, 200, reply.text);
  assert.equal(engine.requests.length, 1);
  return engine.requests[0]!;
}

/** llama.cpp's defaults. */
const DEFAULTS: GenerationRequest = {
  prompt: { kind: "infill", prefix: "p", suffix: "s", extra: [] },
  n: 1,
  temperature: 0.8,
  topK: 40,
  topP: 0.95,
  minP: 0.05,
  presencePenalty: 0,
  frequencyPenalty: 0,
  stop: [],
  ignoreEos: false,
  promptText: true,
};

function without(...names: (keyof GenerationRequest)[]): Partial<GenerationRequest> {
  return Object.fromEntries(Object.entries(DEFAULTS).filter(([name]) => !names.includes(name as never)));
}

const NO_FILTERS = without("topK", "topP", "minP", "presencePenalty", "frequencyPenalty");

const ACCEPTED: [name: string, body: Record<string, unknown>, expected: Partial<GenerationRequest>][] = [
  ["defaults", {}, DEFAULTS],
  ["what it ignores", {
    id_slot: 0,
    lora: [{ id: 0, scale: 0.5 }],
    model: "",
  }, DEFAULTS],
  ["time limits", { t_max_prompt_ms: 500, t_max_predict_ms: 250.5 }, {
    ...DEFAULTS,
    deadlines: { promptMs: 500, predictMs: 250.5 },
  }],
  ["time limits that are off", { t_max_prompt_ms: 0, t_max_predict_ms: -1 }, DEFAULTS],
  ["null as absent", { prompt: null, n_predict: null, samplers: null, seed: null }, DEFAULTS],
  ["prompt, the line's start", { prompt: "  re" }, {
    ...DEFAULTS,
    prompt: { kind: "infill", prefix: "p", suffix: "s", lineStart: "  re", extra: [] },
  }],
  [
    "input_extra",
    {
      input_extra: [{ text: "a", filename: "a.py", time: [1, 2] }, { text: "b" }, {
        text: "c",
        filename: null,
      }],
    },
    {
      ...DEFAULTS,
      prompt: {
        kind: "infill",
        prefix: "p",
        suffix: "s",
        extra: [{ text: "a", filename: "a.py" }, { text: "b" }, { text: "c" }],
      },
    },
  ],
  ["n_predict", { n_predict: 9 }, { ...DEFAULTS, maxTokens: 9 }],
  ["n_predict 0", { n_predict: 0 }, { ...DEFAULTS, maxTokens: 0 }],
  ["n_predict -1", { n_predict: -1 }, DEFAULTS],
  ["max_tokens", { max_tokens: 9 }, { ...DEFAULTS, maxTokens: 9 }],
  ["max_completion_tokens", { max_completion_tokens: 9 }, { ...DEFAULTS, maxTokens: 9 }],
  ["temperature", { temperature: 0 }, { ...DEFAULTS, temperature: 0 }],
  ["a negative temperature as greedy", { temperature: -1 }, { ...DEFAULTS, temperature: 0 }],
  ["top_k", { top_k: 3 }, { ...DEFAULTS, topK: 3 }],
  ["top_k 0 as off", { top_k: 0 }, without("topK")],
  ["top_p and min_p of any size", { top_p: 7, min_p: -1 }, { ...DEFAULTS, topP: 1, minP: 0 }],
  ["penalties", { presence_penalty: 0.5, frequency_penalty: 0.25 }, {
    ...DEFAULTS,
    presencePenalty: 0.5,
    frequencyPenalty: 0.25,
  }],
  ["no samplers", { samplers: [] }, { ...NO_FILTERS, temperature: 1 }],
  ["llama.vim's samplers at T = 1", { top_k: 40, top_p: 0.9, samplers: ["top_k", "top_p", "infill"] }, {
    ...NO_FILTERS,
    temperature: 1,
    topK: 40,
    topP: 0.9,
  }],
  ["other spellings of samplers", { samplers: ["temp", "nucleus", "min-p", "top-k", "penalties"] }, DEFAULTS],
  ["stop", { stop: "x" }, { ...DEFAULTS, stop: ["x"] }],
  ["stop list", { stop: ["x", ""] }, { ...DEFAULTS, stop: ["x"] }],
  ["seed", { seed: 5 }, { ...DEFAULTS, seed: 5 }],
  ["seed -1 as random", { seed: -1 }, DEFAULTS],
  ["seed 2^32 - 1 as random", { seed: 4294967295 }, DEFAULTS],
  ["n_probs", { n_probs: 2 }, { ...DEFAULTS, logprobs: 2 }],
  ["n_probs 0", { n_probs: 0 }, DEFAULTS],
  ["logprobs", { logprobs: 2 }, { ...DEFAULTS, logprobs: 2 }],
  ["n_cmpl", { n_cmpl: 3 }, { ...DEFAULTS, n: 3 }],
  ["n", { n: 3 }, { ...DEFAULTS, n: 3 }],
  ["logit_bias pairs", { logit_bias: [[5, -1], [6, false]] }, {
    ...DEFAULTS,
    logitBias: [{ id: 5, delta: -1 }, { id: 6, delta: -Infinity }],
  }],
  ["logit_bias object", { logit_bias: { 5: 1.5 } }, { ...DEFAULTS, logitBias: [{ id: 5, delta: 1.5 }] }],
  ["logit_bias of a text, for each of its tokens", { logit_bias: [["hi", -2], ["7", false]] }, {
    ...DEFAULTS,
    logitBias: [{ id: 104, delta: -2 }, { id: 105, delta: -2 }, { id: 7, delta: -Infinity }],
  }],
  ["filename", { filename: "src/a.py" }, {
    ...DEFAULTS,
    prompt: { kind: "infill", prefix: "p", suffix: "s", extra: [], filename: "src/a.py" },
  }],
  ["ignore_eos", { ignore_eos: true }, { ...DEFAULTS, ignoreEos: true }],
  ["n_indent", { n_indent: 4 }, { ...DEFAULTS, outputRules: { minIndent: 4 } }],
  ["n_indent -1 as off", { n_indent: -1 }, { ...DEFAULTS, outputRules: { minIndent: 0 } }],
  ["clean", { clean: true, n_indent: 4 }, { ...DEFAULTS, outputRules: { ...CODE_RULES, minIndent: 4 } }],
  ["fim_layout", { fim_layout: "spm" }, {
    ...DEFAULTS,
    prompt: { kind: "infill", prefix: "p", suffix: "s", layout: "spm", extra: [] },
  }],
  ["fields without the prompt", { response_fields: ["content"] }, without("promptText")],
  ["cache_prompt", { cache_prompt: false }, { ...DEFAULTS, cachePrompt: false }],
  ["cache_salt", { cache_salt: "me" }, { ...DEFAULTS, cacheSalt: "me" }],
];

for (const [name, body, expected] of ACCEPTED) {
  Deno.test(`/infill reads ${name}`, async () => assert.deepEqual(await submitted(body), expected));
}

const REJECTED: [body: Record<string, unknown>, param: string, message: string | RegExp][] = [
  [{ input_prefix: undefined }, "input_prefix", '"input_prefix" is required'],
  [{ input_suffix: null }, "input_suffix", '"input_suffix" is required'],
  [{ input_prefix: 1 }, "input_prefix", '"input_prefix" must be a string, received 1'],
  [{ prompt: [1] }, "prompt", '"prompt" must be a string, received an array of 1'],
  [
    { input_extra: [{ filename: "a" }] },
    "input_extra[0].text",
    'extra_context chunk must contain a "text" field with a string value',
  ],
  [
    { input_extra: [{ text: "a" }, 5] },
    "input_extra[1]",
    'extra_context chunk must contain a "text" field with a string value',
  ],
  [{ input_extra: [{ text: "a", filename: 5 }] }, "input_extra[0].filename", /"filename" must be a string/],
  [{ n_predict: "9" }, "n_predict", '"n_predict" must be a number, received "9"'],
  [{ n_predict: -3 }, "n_predict", /at least -2/],
  [{ temperature: "x" }, "temperature", /must be a number/],
  [{ samplers: "kpt" }, "samplers", /must be an array/],
  [{ n_cmpl: 0 }, "n_cmpl", /at least 1/],
  [{ n_probs: -1 }, "n_probs", /at least 0/],
  [{ stop: 5 }, "stop", /must be a string or an array of at most 128 strings/],
  [{ logit_bias: [["word", "1"]] }, "logit_bias", /must map token ids or texts/],
  [{ post_sampling_probs: true }, "post_sampling_probs", /must be false/],
  [{ filename: 5 }, "filename", /must be a string/],
  [{ response_fields: "content" }, "response_fields", /must be an array/],
];

for (const [body, param, message] of REJECTED) {
  Deno.test(`/infill rejects ${JSON.stringify(body)} of ${param} in llama.cpp's shape`, async () => {
    const reply = await infill({}, body);
    const error = { ...reply.json.error };
    assert.equal(reply.status, 400);
    if (message instanceof RegExp) assert.match(error.message, message);
    else assert.equal(error.message, message);
    assert.deepEqual(error, { code: 400, message: error.message, type: "invalid_request_error", param });
  });
}

Deno.test("/infill answers with llama.cpp's native object", async () => {
  const reply = await infill({ tokens: ["a\n", "b"], heldBack: "c" }, { id_slot: 3, seed: 9, n_predict: 8 });
  nativeReply.strict().parse(reply.json);
  assert.equal(reply.text, JSON.stringify(reply.json));
  assert.deepEqual(reply.json, {
    index: 0,
    content: "a\nbc",
    tokens: [],
    id_slot: 3,
    stop: true,
    model: "fake/model-1",
    tokens_predicted: 2,
    tokens_evaluated: 2,
    generation_settings: {
      n_predict: 8,
      seed: 9,
      temperature: 0.8,
      top_k: 40,
      top_p: 0.95,
      min_p: 0.05,
      presence_penalty: 0,
      frequency_penalty: 0,
      stop: [],
      ignore_eos: false,
      n_indent: 0,
      n_probs: 0,
      n_cmpl: 1,
      typical_p: 1,
      repeat_penalty: 1,
      dry_multiplier: 0,
      xtc_probability: 0,
      dynatemp_range: 0,
      mirostat: 0,
      n_keep: 0,
      stream: false,
      samplers: ["penalties", "top_k", "top_p", "min_p", "temperature"],
      n_ctx: 2048,
    },
    prompt: "ps",
    has_new_line: true,
    truncated: false,
    stop_type: "eos",
    stopping_word: "",
    tokens_cached: 4,
    timings: {
      cache_n: 0,
      prompt_n: 2,
      prompt_ms: 20,
      prompt_per_token_ms: 10,
      prompt_per_second: 100,
      predicted_n: 2,
      predicted_ms: 50,
      predicted_per_token_ms: 25,
      predicted_per_second: 40,
    },
  });
});

Deno.test("/infill counts as cached what the model was given: all but the last token drawn", async () => {
  const cached = async (script: Script, body = {}) => (await infill(script, body)).json.tokens_cached;
  assert.equal(await cached({ tokens: ["a", "b"] }), 2 + 2, "the last was the end's");
  assert.equal(await cached({ tokens: ["a", "b"] }, { n_predict: 2 }), 2 + 1);
  assert.equal(await cached({ tokens: ["a", "b"], reason: "stop", stopString: "b" }), 2 + 1);
  assert.equal(await cached({}, { n_predict: 0 }), 2);
});

Deno.test("/infill names the layout", async () => {
  assert.equal((await infill({ layout: "psm" }, {})).json.fim_layout, "psm");
});

Deno.test("/infill tells apart prompt tokens that were cached and computed", async () => {
  const { json } = await infill({ cachedTokens: 1 }, {
    response_fields: ["timings/cache_n", "timings/prompt_n"],
  });
  assert.deepEqual(json, { "timings/cache_n": 1, "timings/prompt_n": 1 });
});

Deno.test("/infill cuts the reply to response_fields, slashes kept, missing names left out", async () => {
  const reply = await infill({}, {
    response_fields: [
      "content",
      "timings/prompt_n",
      "truncated",
      "nothing",
      "timings/nothing",
      "content/length",
    ],
  });
  assert.equal(reply.text, '{"content":"abc","timings/prompt_n":2,"truncated":false}');
});

Deno.test("/infill answers llama.vim's warm-up with an empty object", async () => {
  const reply = await infill({}, {
    id_slot: 0,
    input_prefix: "",
    input_suffix: "",
    input_extra: [{ text: "import os\n", time: [1795445181, 665877], filename: "work.py" }],
    prompt: "",
    n_predict: 0,
    temperature: 0.0,
    samplers: [],
    stream: false,
    cache_prompt: true,
    t_max_prompt_ms: 1,
    t_max_predict_ms: 1,
    response_fields: [""],
    model: "",
  });
  assert.equal(reply.text, "{}");
});

Deno.test("/infill reports rates of 0 where nothing was made", async () => {
  const { json } = await infill({}, { n_predict: 0 });
  assert.equal(json.content, "");
  assert.equal(json.timings.predicted_n, 0);
  assert.equal(json.timings.predicted_per_token_ms, 0);
});

Deno.test("/infill answers llama.vim with an object that matches its pattern", async () => {
  const reply = await infill({}, {
    prompt: "    retu",
    response_fields: ["content", "tokens_cached"],
    model: "",
  });
  assert.match(reply.text, /^\{"content":"/);
  assert.doesNotMatch(reply.text, /\n/);
});

Deno.test("/infill answers n_cmpl above 1 with an array in order of index", async () => {
  const reply = await infill({}, { n_cmpl: 3 });
  assert.deepEqual(reply.json.map(({ index }: { index: number }) => index), [0, 1, 2]);
  assert.equal(typeof reply.json[0].generation_settings.n_ctx, "number");
});

for (const [reason, type] of [["eos", "eos"], ["stop", "word"], ["length", "limit"]] as const) {
  Deno.test(`/infill calls the engine's "${reason}" stop_type ${type}`, async () => {
    const reply = await infill({ reason, stopString: "END", truncated: true });
    assert.equal(reply.json.stop_type, type);
    assert.equal(reply.json.stopping_word, reason === "stop" ? "END" : "");
    assert.equal(reply.json.truncated, true);
  });
}

Deno.test("/infill reports tokens and probabilities when asked", async () => {
  const reply = await infill({ tokens: ["é"] }, { n_probs: 1, return_tokens: true });
  assert.deepEqual(reply.json.tokens, [233]);
  assert.deepEqual(reply.json.completion_probabilities, [{
    id: 233,
    token: "é",
    bytes: [195, 169],
    logprob: -0.25,
    top_logprobs: [{ id: 65, token: "A", bytes: [65], logprob: -1 }],
  }]);
});

Deno.test("/infill streams parts and ends with the full object, without [DONE]", async () => {
  const reply = await infill({ tokens: ["a", "b"], heldBack: "c" }, { stream: true });
  const data = eventData(reply.text);
  assert.equal(
    data[0],
    '{"index":0,"content":"a","tokens":[97],"stop":false,"id_slot":0,"tokens_predicted":1,"tokens_evaluated":2}',
  );
  const parts = data.map((part) => JSON.parse(part));
  assert.deepEqual(parts.map(({ content }) => content), ["a", "b", "c", ""]);
  assert.deepEqual(parts.map(({ stop }) => stop), [false, false, false, true]);
  nativeReply.strict().parse(parts.at(-1));
});

Deno.test("/infill says which size was exceeded", async () => {
  const error = new InvalidRequestError("Too long", {
    field: "prompt",
    reason: "context_length_exceeded",
    tokens: { prompt: 9001, context: 2048 },
  });
  const reply = await infill({ failure: { at: 0, error } });
  assert.equal(reply.status, 400);
  assert.deepEqual(reply.json.error, {
    code: 400,
    message: "Too long",
    type: "exceed_context_size_error",
    param: "prompt",
    n_prompt_tokens: 9001,
    n_ctx: 2048,
  });
});

Deno.test("/infill answers 501 for a model without FIM tokens", async () => {
  const cases: [missing: string[], told: string][] = [
    [["prefix"], "prefix token is missing."],
    [["suffix", "middle"], "suffix token is missing. middle token is missing."],
  ];
  for (const [missing, told] of cases) {
    const reply = await infill({ failure: { at: 0, error: fimUnsupportedError(missing) } });
    assert.equal(reply.status, 501);
    assert.deepEqual(reply.json.error, {
      code: 501,
      message: `Infill is not supported by this model: ${told}`,
      type: "not_supported_error",
      param: "input_suffix",
    });
  }
});

Deno.test("/infill names the wire field of an engine's complaint", async () => {
  const error = new InvalidRequestError("wrong", { field: "maxTokens", reason: "invalid_value" });
  assert.equal((await infill({ failure: { at: 0, error } })).json.error.param, "n_predict");
});

Deno.test("/infill sends an error after the first token as the last event", async () => {
  const error = new EngineUnavailableError("The device was lost", "device_lost");
  const data = eventData((await infill({ failure: { at: 2, error } }, { stream: true })).text);
  assert.equal(
    data.at(-1),
    '{"error":{"code":503,"message":"The device was lost","type":"unavailable_error","param":null}}',
  );
});

Deno.test("/infill is unavailable while the model loads", async () => {
  const error = new EngineUnavailableError("Loading model", "loading", 4);
  const reply = await infill({ failure: { at: 0, error } });
  assert.equal(reply.status, 503);
  assert.equal(reply.headers.get("retry-after"), "4");
  assert.deepEqual(reply.json.error, {
    code: 503,
    message: "Loading model",
    type: "unavailable_error",
    param: null,
  });
});

Deno.test("POST /infill counts a rule that ended the completion among the limits, and names it", async () => {
  const { json } = await infill({ reason: "rule", rules: ["n_indent"] }, { n_indent: 4 });
  assert.deepEqual([json.stop_type, json.cleaned], ["limit", ["n_indent"]]);
  assert.equal(json.generation_settings.n_indent, 4);
  nativeReply.parse(json);
  assert.equal("cleaned" in (await infill({}, { n_indent: 4 })).json, false);
});

Deno.test("POST /infill says so when the text is what an earlier completion had left", async () => {
  const { json } = await infill({ cachedCompletion: true });
  assert.equal(json.cached_completion, true);
  nativeReply.parse(json);
  assert.equal("cached_completion" in (await infill({})).json, false);
});
