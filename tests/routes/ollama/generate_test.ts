import assert from "node:assert/strict";
import { EngineUnavailableError, InvalidRequestError } from "../../../engine/errors.ts";
import type { GenerationRequest, Prompt } from "../../../engine/request.ts";
import { generateReply } from "../../../routes/ollama/generate_schema.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";
import { openApp, post, type Reply } from "../requests.ts";

const PATH = "/api/generate";

async function generate(script: Script, body: Record<string, unknown> = {}): Promise<Reply> {
  return await post(openApp(new FakeEngine(script)), PATH, { model: "fake/model-1", prompt: "x", ...body });
}

async function submitted(body: Record<string, unknown>): Promise<GenerationRequest> {
  const engine = new FakeEngine();
  const reply = await post(openApp(engine), PATH, { prompt: "x", stream: false, ...body });
  assert.equal(reply.status, 200, reply.text);
  return engine.requests[0]!;
}

// deno-lint-ignore no-explicit-any
function lines({ text }: Reply): any[] {
  assert.match(text, /^(\{[^\n]*\}\n)+$/);
  return text.trimEnd().split("\n").map((line) => JSON.parse(line));
}

/** The context less what Ollama's default may write, a quarter of it. */
const KEEP = 1536;

function text(text: string, keep = KEEP): Extract<Prompt, { kind: "text" }> {
  return { kind: "text", text, parseSpecial: true, keep };
}

const DEFAULTS: GenerationRequest = {
  prompt: text("x"),
  temperature: 0.8,
  topK: 40,
  topP: 0.9,
  minP: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  stop: [],
};

function without(name: keyof GenerationRequest): Partial<GenerationRequest> {
  return Object.fromEntries(Object.entries(DEFAULTS).filter(([key]) => key !== name));
}

const ACCEPTED: [name: string, body: Record<string, unknown>, expected: Partial<GenerationRequest>][] = [
  ["Ollama's defaults", {}, DEFAULTS],
  ["null as absent", { suffix: null, options: null, context: null, format: null }, DEFAULTS],
  [
    "llm-ls's parameters beside the options",
    { parameters: { temperature: 9 }, options: { num_predict: 5 } },
    { ...DEFAULTS, prompt: text("x", 2043), maxTokens: 5 },
  ],
  ["what it ignores", {
    system: "You are",
    keep_alive: "30m",
    think: false,
    images: [],
    options: { num_ctx: 4096, repeat_penalty: 1.1, typical_p: 0.5, num_keep: 4 },
  }, DEFAULTS],
  ["the template that is applied anyway", { template: "{{ .Prompt }}" }, DEFAULTS],
  ["a suffix", { prompt: "p", suffix: "s" }, {
    ...DEFAULTS,
    prompt: { kind: "infill", prefix: "p", suffix: "s" },
  }],
  ["a suffix alone", { prompt: "", suffix: "s" }, {
    ...DEFAULTS,
    prompt: { kind: "infill", prefix: "", suffix: "s" },
  }],
  ["raw", { raw: true, prompt: "<fim_prefix>a" }, { ...DEFAULTS, prompt: text("<fim_prefix>a") }],
  ["an earlier context", { context: [1, 2], prompt: "ab" }, {
    ...DEFAULTS,
    prompt: { ...text("ab"), before: [1, 2] },
  }],
  ["num_predict -1 as all that fits", { options: { num_predict: -1 } }, DEFAULTS],
  ["num_predict 0", { options: { num_predict: 0 } }, { ...DEFAULTS, prompt: text("x", 2047), maxTokens: 0 }],
  ["temperature 0", { options: { temperature: 0 } }, { ...DEFAULTS, temperature: 0 }],
  ["top_k 0 as off", { options: { top_k: 0 } }, without("topK")],
  ["top_p of any size", { options: { top_p: 3, min_p: -1 } }, { ...DEFAULTS, topP: 1, minP: 0 }],
  ["a seed, 0 too", { options: { seed: 0 } }, { ...DEFAULTS, seed: 0 }],
  ["seed -1 as random", { options: { seed: -1 } }, DEFAULTS],
  ["stop", { options: { stop: "a" } }, { ...DEFAULTS, stop: ["a"] }],
  ["stop list", { options: { stop: ["a", ""] } }, { ...DEFAULTS, stop: ["a"] }],
  ["logprobs", { logprobs: true, top_logprobs: 2 }, { ...DEFAULTS, logprobs: 2 }],
  ["top_logprobs alone as nothing", { top_logprobs: 2 }, DEFAULTS],
  ["format json", { format: "json" }, {
    ...DEFAULTS,
    grammar: {
      field: "format",
      kind: "jsonSchema",
      schema: '{"type":"object","additionalProperties":true}',
    },
  }],
  ["format as a schema", { format: { type: "object" } }, {
    ...DEFAULTS,
    grammar: { field: "format", kind: "jsonSchema", schema: '{"type":"object"}' },
  }],
  ["no format", { format: "" }, DEFAULTS],
  ["the model with its tag", { model: "fake/model-1:latest" }, DEFAULTS],
];

for (const [name, body, expected] of ACCEPTED) {
  Deno.test(`/api/generate reads ${name}`, async () => assert.deepEqual(await submitted(body), expected));
}

Deno.test("/api/generate has a prompt cut to its end, with room for what is asked, and not without", async () => {
  const options = { num_predict: 48 }, prompt = "a".repeat(3000);
  assert.deepEqual((await submitted({ prompt, options })).prompt, text(prompt, 2000));
  const { keep: _, ...uncut } = text(prompt);
  assert.deepEqual((await submitted({ prompt, options, truncate: false })).prompt, uncut);
  assert.deepEqual(
    (await submitted({ prompt, options: { num_predict: 5000 } })).prompt,
    text(prompt, 1024),
    "a completion gets half of the context at most",
  );
});

const REJECTED: [body: Record<string, unknown>, status: number, message: string | RegExp][] = [
  [{ model: "llama3" }, 404, 'model "llama3" not found, try pulling it first'],
  [{ model: 5 }, 400, '"model" must be a string, received 5'],
  [{ prompt: ["a"] }, 400, '"prompt" must be a string, received an array of 1'],
  [{ suffix: 5 }, 400, /^"suffix" must be a string/],
  [{ options: { temperature: "x" } }, 400, '"options.temperature" must be a number, received "x"'],
  [{ options: { stop: 5 } }, 400, /^"options.stop" must be a string or an array of at most 128 strings/],
  [{ options: [] }, 400, /^"options" must be an object/],
  [{ options: { seed: 1.5 } }, 400, '"options.seed" must be an integer'],
  [{ stream: "yes" }, 400, /^"stream" must be true or false/],
  [{ raw: true, context: [1] }, 400, "raw mode does not support template, system, or context"],
  [{ raw: true, system: "s" }, 400, "raw mode does not support template, system, or context"],
  [
    { context: ["a"] },
    400,
    '"context" must be an array of token ids, received an array of 1 with "a" at [0]',
  ],
  [{ context: [1], suffix: "s" }, 400, '"context" cannot be combined with "suffix"'],
  [
    { template: "<s>{{ .Prompt }}" },
    400,
    '"template" must be the model\'s own: lay the prompt out yourself, and set "raw"',
  ],
  [{ images: ["aGk="] }, 400, '"images" must be empty: the model reads text only'],
  [{ think: true }, 400, /does not support thinking$/],
  [{ format: "xml" }, 400, '"format" must be "json" or a JSON schema, received "xml"'],
  [{ top_logprobs: 21 }, 400, /^"top_logprobs" must be at most 20/],
];

for (const [body, status, message] of REJECTED) {
  Deno.test(`/api/generate rejects ${JSON.stringify(body)} in Ollama's shape`, async () => {
    const reply = await generate({}, body);
    assert.equal(reply.status, status, reply.text);
    assert.deepEqual(Object.keys(reply.json), ["error"]);
    if (message instanceof RegExp) assert.match(reply.json.error, message);
    else assert.equal(reply.json.error, message);
  });
}

Deno.test("/api/generate streams a line of JSON for each part unless told otherwise", async () => {
  const reply = await generate({ tokens: ["a", "", "b"], heldBack: "c" }, { options: { num_predict: 3 } });
  assert.equal(reply.headers.get("content-type"), "application/x-ndjson");
  const all = lines(reply);
  assert.deepEqual(all.map(({ response, done }) => [response, done]), [["a", false], ["b", false], [
    "c",
    false,
  ], ["", true]]);
  assert.deepEqual(Object.keys(all[0]), ["model", "created_at", "response", "done"]);
  const { created_at, total_duration, ...last } = all.at(-1);
  assert.match(created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/);
  assert.ok(Number.isInteger(total_duration) && total_duration >= 71e6);
  assert.deepEqual(last, {
    model: "fake/model-1",
    response: "",
    done: true,
    done_reason: "length",
    context: [120, 97, 0, 98],
    load_duration: 0,
    prompt_eval_count: 1,
    prompt_eval_duration: 20e6,
    eval_count: 3,
    eval_duration: 50e6,
  });
  for (const line of all) generateReply.strict().parse(line);
});

Deno.test("/api/generate answers with one object when it is not to stream, by the name that was asked for", async () => {
  const { json } = await generate({ tokens: ["a", "b"] }, { stream: false, model: "fake/model-1:latest" });
  assert.deepEqual([json.model, json.response, json.done, json.done_reason], [
    "fake/model-1:latest",
    "ab",
    true,
    "stop",
  ]);
  generateReply.strict().parse(json);
});

Deno.test("/api/generate keeps its context to itself in raw mode", async () => {
  assert.equal("context" in (await generate({}, { stream: false, raw: true })).json, false);
});

Deno.test("/api/generate shows log-probabilities with each token, and all of them in one object", async () => {
  const likely = { token: "A", logprob: -1, bytes: [65] };
  const body = { logprobs: true, top_logprobs: 1 };
  const entry = (token: string) => ({
    token,
    logprob: -0.25,
    bytes: [token.charCodeAt(0)],
    top_logprobs: [likely],
  });
  const streamed = lines(await generate({ tokens: ["a", "b"] }, body));
  assert.deepEqual(streamed.slice(0, 2).map(({ logprobs }) => logprobs), [[entry("a")], [entry("b")]]);
  const { json } = await generate({ tokens: ["a", "b"] }, { ...body, stream: false });
  assert.deepEqual(json.logprobs, [entry("a"), entry("b")]);
});

Deno.test("/api/generate says of an empty prompt that the model is loaded, or given back, without asking it", async () => {
  const engine = new FakeEngine();
  for (
    const [body, reason] of [[{}, "load"], [{ keep_alive: 0 }, "unload"], [
      { keep_alive: "30m" },
      "load",
    ]] as const
  ) {
    const { json } = await post(openApp(engine), PATH, { model: "", ...body });
    const { created_at: _, ...told } = json;
    assert.deepEqual(told, { model: "fake/model-1", response: "", done: true, done_reason: reason });
  }
  assert.equal(engine.requests.length, 0);
});

Deno.test("/api/generate says that a model without the tokens does not support insert", async () => {
  const engine = new FakeEngine(), { model } = engine;
  Object.defineProperty(engine, "model", {
    value: { ...model, fim: { supported: false, missing: ["prefix"] } },
  });
  const reply = await post(openApp(engine), PATH, { prompt: "a", suffix: "b" });
  assert.equal(reply.status, 400);
  assert.deepEqual(reply.json, { error: '"fake/model-1" does not support insert' });
});

Deno.test("/api/generate tells what is wrong with the engine in Ollama's words", async () => {
  const cases: [error: Error, status: number][] = [
    [new EngineUnavailableError("full", "queue_full"), 503],
    [new EngineUnavailableError("loading", "loading"), 503],
    [new InvalidRequestError("wrong", { field: "maxTokens", reason: "invalid_value" }), 400],
  ];
  for (const [error, status] of cases) {
    for (const stream of [true, false]) {
      const reply = await generate({ failure: { at: 0, error } }, { stream });
      assert.equal(reply.status, status);
      assert.deepEqual(reply.json, { error: error.message });
    }
  }
});

Deno.test("/api/generate sends an error after the first token as the last line", async () => {
  const error = new EngineUnavailableError("The device was lost", "device_lost");
  const reply = await generate({ failure: { at: 2, error } });
  assert.deepEqual(lines(reply).at(-1), { error: "The device was lost" });
});
