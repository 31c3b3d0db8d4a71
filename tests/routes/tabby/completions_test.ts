import assert from "node:assert/strict";
import { EngineUnavailableError, InvalidRequestError } from "../../../engine/errors.ts";
import { fimUnsupportedError } from "../../../engine/validate_request.ts";
import { CODE_RULES, NO_RULES } from "../../../engine/output_rules.ts";
import type { GenerationRequest } from "../../../engine/request.ts";
import { tabbyReply } from "../../../routes/tabby/completion_schema.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";
import { openApp, post, type Reply } from "../requests.ts";

const PATH = "/v1/completions";

async function complete(script: Script, body: Record<string, unknown>): Promise<Reply> {
  return await post(openApp(new FakeEngine(script)), PATH, body);
}

async function submitted(body: Record<string, unknown>): Promise<GenerationRequest> {
  const engine = new FakeEngine();
  const reply = await post(openApp(engine), PATH, body);
  assert.equal(reply.status, 200, reply.text);
  return engine.requests[0]!;
}

const DEFAULTS: GenerationRequest = {
  prompt: { kind: "infill", prefix: "p", suffix: "s", extra: [] },
  maxTokens: 64,
  temperature: 0.1,
  outputRules: CODE_RULES,
};
const SEGMENTS = { prefix: "p", suffix: "s" };

const ACCEPTED: [name: string, body: Record<string, unknown>, expected: Partial<GenerationRequest>][] = [
  ["Tabby's defaults", { language: "python", segments: SEGMENTS }, {}],
  ["null as absent", {
    segments: { ...SEGMENTS, filepath: null, declarations: null },
    prompt: null,
    seed: null,
  }, {}],
  [
    "what it ignores",
    { segments: { ...SEGMENTS, git_url: "x", edit_history: { a: 1 } }, user: "me", x: 1 },
    {},
  ],
  ["an empty suffix as a line break", { segments: { prefix: "p" } }, {
    prompt: { kind: "infill", prefix: "p", suffix: "\n", extra: [] },
  }],
  ["temperature and seed", { segments: SEGMENTS, temperature: 0, seed: 7 }, { temperature: 0, seed: 7 }],
  ["rules of its own", { segments: SEGMENTS, scope: "line", trim_suffix: false }, {
    outputRules: { ...CODE_RULES, scope: "line", trimSuffix: false },
  }],
  ["no rules", { segments: SEGMENTS, clean: false }, { outputRules: NO_RULES }],
  ["a raw prompt", { debug_options: { raw_prompt: "<fim_prefix>a" } }, {
    prompt: { kind: "text", text: "<fim_prefix>a", parseSpecial: true },
  }],
];

for (const [name, body, expected] of ACCEPTED) {
  Deno.test(`Tabby's /v1/completions reads ${name}`, async () => {
    assert.deepEqual(await submitted(body), { ...DEFAULTS, ...expected });
  });
}

const CONTEXT = {
  ...SEGMENTS,
  filepath: "src/main.py",
  declarations: [{ filepath: "lib.py", body: "def d(): ..." }],
  relevant_snippets_from_changed_files: [
    { filepath: "b.py", body: "b", score: 0.9 },
    { filepath: "a.py", body: "a", score: 0.5 },
  ],
  relevant_snippets_from_recently_opened_files: [{ filepath: "o.py", body: "o", score: 2 }],
  clipboard: "copied",
};

Deno.test("Tabby's /v1/completions shows the model other files as files, the most relevant last", async () => {
  const { prompt } = await submitted({ segments: CONTEXT });
  assert.deepEqual(prompt, {
    kind: "infill",
    prefix: "p",
    suffix: "s",
    filename: "src/main.py",
    extra: [
      { text: "copied" },
      { filename: "o.py", text: "o" },
      { filename: "a.py", text: "a" },
      { filename: "b.py", text: "b" },
      { filename: "lib.py", text: "def d(): ..." },
    ],
  });
  const options = { disable_retrieval_augmented_code_completion: true };
  const alone = await submitted({ segments: CONTEXT, debug_options: options });
  assert.deepEqual(alone.prompt, { kind: "infill", prefix: "p", suffix: "s", filename: "src/main.py" });
});

Deno.test("Tabby's /v1/completions answers with one choice and a number of its own", async () => {
  const { json } = await complete({ tokens: ["a", "b"], heldBack: "c" }, { segments: SEGMENTS });
  const { id, ...told } = json;
  assert.match(id, /^cmpl-[\da-f-]{36}$/);
  assert.deepEqual(told, { choices: [{ index: 0, text: "abc" }], mode: "standard" });
  tabbyReply.strict().parse(json);
});

Deno.test("Tabby's /v1/completions shows prompt and snippets to who looks for faults", async () => {
  const { json } = await complete({}, {
    segments: CONTEXT,
    debug_options: { return_prompt: true, return_snippets: true },
  });
  assert.equal(json.debug_data.prompt, "ps");
  assert.deepEqual(json.debug_data.snippets.at(-1), { filepath: "lib.py", body: "def d(): ...", score: 1 });
  assert.equal(json.debug_data.snippets.length, 4);
});

const REJECTED: [body: Record<string, unknown>, message: RegExp][] = [
  [{ segments: {} }, /^"segments.prefix" is required$/],
  [{ segments: "x" }, /^"segments" must be an object, received "x"$/],
  [{ segments: { prefix: 5 } }, /^"segments.prefix" must be a string, received 5$/],
  [
    { segments: { ...SEGMENTS, declarations: [{ filepath: "a" }] } },
    /^"segments.declarations\[0\].body" is required$/,
  ],
  [
    { segments: { ...SEGMENTS, declarations: Array(4097).fill(1) } },
    /^"segments.declarations" must have at most 4096 items/,
  ],
  [{ segments: SEGMENTS, temperature: -1 }, /^"temperature" must be at least 0/],
  [{ segments: SEGMENTS, mode: "next_edit_suggestion" }, /^"mode" must be "standard"/],
];

for (const [body, message] of REJECTED) {
  Deno.test(`Tabby's /v1/completions rejects ${JSON.stringify(body).slice(0, 70)} with a status, and says why`, async () => {
    const reply = await complete({}, body);
    assert.equal(reply.status, 400, reply.text);
    assert.match(reply.headers.get("content-type")!, /^text\/plain/);
    assert.match(reply.text, message);
  });
}

Deno.test("Tabby's /v1/completions answers 501 for a model that does not fill in, and 503 while there is none", async () => {
  const cases: [error: Error, status: number][] = [
    [fimUnsupportedError(["prefix"]), 501],
    [new EngineUnavailableError("Loading model", "loading"), 503],
  ];
  for (const [error, status] of cases) {
    const reply = await complete({ failure: { at: 0, error } }, { segments: SEGMENTS });
    assert.deepEqual([reply.status, reply.text], [status, error.message]);
  }
});

Deno.test("Tabby's /v1/completions names the field that the client sent", async () => {
  const message = "Cannot admit request: prompt must be at most 2047 tokens, received 9001";
  const tokens = { prompt: 9001, context: 2048 };
  const error = new InvalidRequestError(message, {
    field: "prompt",
    reason: "context_length_exceeded",
    tokens,
  });
  const cases = [
    [{ debug_options: { raw_prompt: "x" } }, "debug_options.raw_prompt"],
    [{ segments: SEGMENTS }, "segments"],
  ] as const;
  for (const [body, field] of cases) {
    const reply = await complete({ failure: { at: 0, error } }, body);
    assert.deepEqual([reply.status, reply.text], [400, message.replace("prompt", `"${field}"`)]);
  }
});

Deno.test("/v1/completions is OpenAI's for a body that has a prompt, whatever else it has", async () => {
  const { json } = await complete({}, { prompt: "x", segments: SEGMENTS });
  assert.equal(json.object, "text_completion");
  const { json: { error } } = await complete({}, { segments: undefined });
  assert.equal(error.message, '"prompt" is required');
});
