// llm-ls (llm-vscode, llm.nvim, llm-intellij) by the requests that it makes and the replies that it can read, both as
// its code has them (crates/llm-ls/src/backend.rs and main.rs at 1c52b94): the program itself is not to be had from a
// package registry.
import assert from "node:assert/strict";
import { EngineUnavailableError } from "../../engine/errors.ts";
import { FakeEngine, type Script } from "../routes/fake_engine.ts";
import { openApp, post, type Reply } from "../routes/requests.ts";

interface Backend {
  /** Of the address in the settings and the model's name. */
  readonly path: string;
  readonly body: (prompt: string, settings: Record<string, unknown>) => Record<string, unknown>;
  /** The texts of a reply, or its error as it is shown; throws on what llm-ls cannot parse. */
  readonly read: (reply: unknown) => string[] | string;
}

const MODEL = "fake/model-1";

// deno-lint-ignore no-explicit-any
type Json = any;

function asInputs(inputs: string, settings: Record<string, unknown>) {
  const { parameters } = settings as { parameters?: object };
  return parameters
    ? { ...settings, inputs, parameters: { ...parameters, return_full_text: false } }
    : { ...settings, inputs, parameters: { parameters: { return_full_text: false } } };
}

function asPrompt(prompt: string, settings: Record<string, unknown>) {
  return { ...settings, prompt, model: MODEL, stream: false };
}

function text(value: unknown): string {
  assert.equal(typeof value, "string", `llm-ls wants a string: ${JSON.stringify(value)}`);
  return value as string;
}

function readChoices({ choices }: Json): string[] {
  return choices.map((choice: Json) => text(choice.text));
}

/** A string or a number for `loc`, and not FastAPI's list. */
function readDetail({ detail }: Json): string {
  return detail.map(({ loc, msg, type }: Json) => `${text(loc)}: ${text(msg)} (${text(type)})`).join("\n");
}

const BACKENDS: Readonly<Record<string, Backend>> = {
  tgi: {
    path: "/generate",
    body: asInputs,
    read: (reply: Json) => "generated_text" in reply ? [text(reply.generated_text)] : text(reply.error),
  },
  huggingface: {
    path: `/models/${MODEL}`,
    body: asInputs,
    read: (reply: Json) =>
      Array.isArray(reply) ? reply.map(({ generated_text }) => text(generated_text)) : text(reply.error),
  },
  ollama: {
    path: "/api/generate",
    body: asPrompt,
    read: (reply: Json) => "response" in reply ? [text(reply.response)] : text(reply.error),
  },
  openai: {
    path: "/v1/completions",
    body: asPrompt,
    read: (reply: Json) => "choices" in reply ? readChoices(reply) : readDetail(reply),
  },
};

/** Settings as llm.nvim and llm-vscode have them for StarCoder. */
const SETTINGS: Readonly<Record<string, Record<string, unknown>>> = {
  none: {},
  "those of the plugins": {
    parameters: { max_new_tokens: 60, temperature: 0.2, top_p: 0.95 },
    options: { num_predict: 60, temperature: 0.2, top_p: 0.95 },
    max_tokens: 60,
    temperature: 0.2,
    top_p: 0.95,
  },
};
const PROMPT = "<fim_prefix>def f(<fim_suffix>\n<fim_middle>";

function ask(script: Script, { path, body }: Backend, settings: Record<string, unknown>): Promise<Reply> {
  const headers = { "User-Agent": "llm-ls/0.5.3; rust/unknown; ide/Neovim", Authorization: "Bearer " };
  return post(openApp(new FakeEngine(script)), path, body(PROMPT, settings), headers);
}

for (const [name, backend] of Object.entries(BACKENDS)) {
  for (const [kind, settings] of Object.entries(SETTINGS)) {
    Deno.test(`llm-ls's ${name} backend completes with settings: ${kind}`, async () => {
      const reply = await ask({ tokens: ["x", "):"] }, backend, settings);
      assert.deepEqual([reply.status, backend.read(reply.json)], [200, ["x):"]]);
    });
  }

  Deno.test(`llm-ls's ${name} backend shows errors that can be read`, async () => {
    const error = new EngineUnavailableError("The queue is full", "queue_full");
    const full = await ask({ failure: { at: 0, error } }, backend, {});
    assert.match(backend.read(full.json) as string, /The queue is full/);
    const wrong = { parameters: { temperature: "x" }, options: { temperature: "x" }, temperature: "x" };
    const refused = await ask({}, backend, wrong);
    assert.match(backend.read(refused.json) as string, /temperature" must be a number, received "x"/);
  });
}

Deno.test("llm-ls's prompt keeps its infill tokens, and is not repeated", async () => {
  for (const backend of Object.values(BACKENDS)) {
    const engine = new FakeEngine();
    await post(openApp(engine), backend.path, backend.body(PROMPT, {}));
    const { prompt } = engine.requests[0]!;
    assert.ok(prompt.kind === "text" && prompt.parseSpecial);
    assert.equal(prompt.text, PROMPT);
  }
});
