import assert from "node:assert/strict";
import { createApp } from "../../../routes/app.ts";
import type { SequenceInfo } from "../../../engine/sequence_info.ts";
import { FakeEngine } from "../fake_engine.ts";
import { get, openApp } from "../requests.ts";

const DECODING: SequenceInfo = {
  requestId: "r-1",
  arrival: 7,
  sample: 1,
  stage: "decode",
  priority: "live",
  ageMs: 120,
  promptTokens: 30,
  computedTokens: 35,
  generatedTokens: 6,
  hasNewLine: true,
  maxTokens: 16,
  blocks: 3,
  temperature: 0.8,
  topK: 40,
  topP: 0.95,
  minP: 0.05,
  prompt: "secret",
};

const WAITING: SequenceInfo = {
  ...DECODING,
  arrival: 8,
  stage: "queue",
  priority: "batch",
  computedTokens: 0,
  generatedTokens: 0,
  hasNewLine: false,
  blocks: 0,
};

function engineWith(...inFlight: SequenceInfo[]): FakeEngine {
  return Object.assign(new FakeEngine(), { inFlight });
}

Deno.test("/slots shows what each sequence holds in llama.cpp's shape, without its prompt", async () => {
  const reply = await get(openApp(engineWith(DECODING, WAITING)), "/slots");
  assert.equal(reply.status, 200, reply.text);
  assert.deepEqual(reply.json[0], {
    id: 0,
    id_task: 7,
    n_ctx: 2048,
    speculative: false,
    is_processing: true,
    params: { n_predict: 16, temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05 },
    next_token: { has_next_token: true, has_new_line: true, n_remain: 10, n_decoded: 6 },
    request_id: "r-1",
    sample: 1,
    stage: "decode",
    priority: "live",
    age_ms: 120,
    n_prompt_tokens: 30,
    n_prompt_tokens_processed: 30,
    n_blocks: 3,
  });
  assert.deepEqual([reply.json[1].is_processing, reply.json[1].n_blocks], [false, 0]);
  assert.equal(reply.json[1].next_token.has_new_line, false);
  assert.doesNotMatch(reply.text, /secret/);
});

Deno.test("/slots of an idle server is an empty list", async () => {
  assert.equal((await get(openApp(engineWith()), "/slots")).text, "[]");
});

Deno.test("/slots?prompt=1 shows prompts only where the server was told so, and says how", async () => {
  const refused = await get(openApp(engineWith(DECODING)), "/slots?prompt=1");
  assert.equal(refused.status, 403);
  assert.equal(refused.json.error.type, "permission_error");
  assert.match(refused.json.error.message, /start it with --show-prompts/);
  const app = createApp(engineWith(DECODING), { apiKeys: [], showPrompts: true });
  assert.equal((await get(app, "/slots?prompt=1")).json[0].prompt, "secret");
  assert.equal((await get(app, "/slots")).json[0].prompt, undefined);
});

Deno.test("/slots?fail_on_no_slot=1 answers 503 while anything waits", async () => {
  const full = await get(openApp(engineWith(DECODING, WAITING)), "/slots?fail_on_no_slot=1");
  assert.deepEqual([full.status, full.headers.get("retry-after")], [503, "1"]);
  assert.equal((await get(openApp(engineWith(DECODING)), "/slots?fail_on_no_slot=1")).status, 200);
});

Deno.test("/slots answers 503 while the model loads", async () => {
  const engine = engineWith();
  engine.state = { phase: "loading", progress: 0 };
  assert.equal((await get(openApp(engine), "/slots")).status, 503);
});
