// What a body of /v1/completions asks of the engine, and which bodies are refused.
import assert from "node:assert/strict";
import { CODE_RULES, NO_RULES } from "../../../engine/output_rules.ts";
import type { GenerationRequest } from "../../../engine/request.ts";
import { FakeEngine } from "../fake_engine.ts";
import { assertOpenAiError, openApp, post } from "../requests.ts";
import { PATH } from "./complete.ts";

/** Sends a body and returns what the engine was asked. */
async function submitted(body: Record<string, unknown>): Promise<GenerationRequest[]> {
  const engine = new FakeEngine();
  const reply = await post(openApp(engine), PATH, { prompt: "x", ...body });
  assert.equal(reply.status, 200, reply.text);
  return engine.requests;
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
  [{ prompt: ["a", 1] }, "prompt", /received an array of 2 with 1 at \[1\]$/],
  [{ prompt: [1, -1] }, "prompt", /received an array of 2 with -1 at \[1\]$/],
  [{ prompt: [1, 1.5] }, "prompt", /must be a string/],
  [{ prompt: [[1], ["a"]] }, "prompt", /received an array of 2 with "a" at \[1\]\[0\]$/],
  [{ prompt: [[1], []] }, "prompt", /received an array of 2 with an array of 0 at \[1\]$/],
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
  [
    {
      prompt: Array(128).fill("a"),
      suffix: "s".repeat(60_000),
      extra: [{ text: "e".repeat(6000) }],
      stop: ["e"],
    },
    "prompt",
    /^"prompt" must have at most 127 items beside 66001 characters in "suffix", "extra" and "stop", received 128/,
  ],
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
