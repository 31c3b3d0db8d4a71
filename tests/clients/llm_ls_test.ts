// llm-ls (llm-vscode, llm.nvim, llm-intellij) by the requests that its own code made (llm_ls/record.ts), replayed, and
// by the replies that it can read, as its code has them (crates/llm-ls/src/backend.rs at 1c52b94).
import assert from "node:assert/strict";
import { EngineUnavailableError } from "../../engine/errors.ts";
import requests from "../fixtures/llm_ls_requests.json" with { type: "json" };
import { FakeEngine, type Script } from "../routes/fake_engine.ts";
import { openApp, post, type Reply } from "../routes/requests.ts";
import { LLM_LS_PROMPT, type RecordedLlmLsRequest } from "./llm_ls/recorded_request.ts";

const REQUESTS = requests as readonly RecordedLlmLsRequest[];

// deno-lint-ignore no-explicit-any
type Json = any;

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

/** The texts of a reply, or its error as it is shown; throws on what llm-ls cannot parse. */
type Reader = (reply: Json) => string[] | string;

const READERS: Readonly<Record<RecordedLlmLsRequest["backend"], Reader>> = {
  tgi: (reply) => "generated_text" in reply ? [text(reply.generated_text)] : text(reply.error),
  huggingface: (reply) =>
    Array.isArray(reply) ? reply.map(({ generated_text }) => text(generated_text)) : text(reply.error),
  ollama: (reply) => "response" in reply ? [text(reply.response)] : text(reply.error),
  openai: (reply) => "choices" in reply ? readChoices(reply) : readDetail(reply),
  // Errors that are no text, such as llama.cpp's own and OpenAI's, it cannot read.
  llamacpp: (reply) => "choices" in reply ? readChoices(reply) : JSON.stringify(reply.error),
};

function replay(script: Script, { path, body, headers }: RecordedLlmLsRequest): Promise<Reply> {
  return post(openApp(new FakeEngine(script)), path, body as Record<string, unknown>, headers);
}

for (const recorded of REQUESTS) {
  const { backend, settings, path, headers, body } = recorded, read = READERS[backend];
  if (settings === "wrong") {
    Deno.test(`llm-ls's ${backend} backend is told what is wrong with its settings`, async () => {
      const refused = await replay({}, recorded);
      assert.match(read(refused.json) as string, /temperature\\?" must be a number, received \\?"x/);
    });
    continue;
  }
  Deno.test(`llm-ls's ${backend} backend completes with settings: ${settings}`, async () => {
    const reply = await replay({ tokens: ["x", "):"] }, recorded);
    assert.deepEqual([reply.status, read(reply.json)], [200, ["x):"]]);
  });

  Deno.test(`llm-ls's ${backend} backend is told that the server is busy, with settings: ${settings}`, async () => {
    const error = new EngineUnavailableError("The queue is full", "queue_full");
    const full = await replay({ failure: { at: 0, error } }, recorded);
    assert.match(read(full.json) as string, /The queue is full/);
  });

  Deno.test(`llm-ls's prompt keeps its infill tokens: ${backend}, settings: ${settings}`, async () => {
    const engine = new FakeEngine();
    await post(openApp(engine), path, body as Record<string, unknown>, headers);
    const { prompt } = engine.requests[0]!;
    assert.ok(prompt.kind === "text" && prompt.parseSpecial);
    assert.equal(prompt.text, LLM_LS_PROMPT);
  });
}

Deno.test("llm-ls's recorded requests are of all its backends", () => {
  assert.deepEqual(new Set(REQUESTS.map(({ backend }) => backend)), new Set(Object.keys(READERS)));
});
