// What llama.vim sends, as llama_vim/record.ts has recorded it from the plugin itself in Vim, and what it must get back
// to show anything: one line of compact JSON, an object, with the fields that it reads.
import assert from "node:assert/strict";
import { FakeEngine } from "../routes/fake_engine.ts";
import { openApp, post } from "../routes/requests.ts";
import type { RecordedRequest } from "./llama_vim/recorded_request.ts";

const RECORDED: readonly RecordedRequest[] = JSON.parse(
  await Deno.readTextFile(new URL("../fixtures/llama_vim_requests.json", import.meta.url)),
);

function only(name: string, test: (body: Record<string, unknown>) => boolean): readonly RecordedRequest[] {
  const found = RECORDED.filter(({ body }) => test(body));
  assert.ok(found.length > 0, `no ${name} was recorded`);
  return found;
}

async function answer({ path, headers, body }: RecordedRequest) {
  const engine = new FakeEngine({ tokens: ["turn", " 1\n", "    x"] });
  const reply = await post(openApp(engine), path, body, headers);
  assert.equal(reply.status, 200, reply.text);
  return { reply, request: engine.requests[0], standing: engine.standings[0] };
}

Deno.test("llama.vim's live requests get what it shows", async () => {
  for (const recorded of only("live request", ({ t_max_predict_ms }) => t_max_predict_ms === 250)) {
    const { reply, request, standing } = await answer(recorded);
    // The plugin's own test of a reply, before it parses it.
    assert.match(reply.text, /^\{[^\n]*"content"\s*:"[^\n]*\}$/);
    assert.equal(reply.json.content, "turn 1\n    x");
    for (const field of recorded.body.response_fields as string[]) assert.ok(field in reply.json, field);
    assert.equal(standing.priority, "live");
    assert.ok(request.prompt.kind === "infill" && (request.prompt.extra?.length ?? 0) > 0);
    assert.equal(request.prompt.lineStart, recorded.body.prompt);
  }
});

Deno.test("llama.vim's look ahead is answered after whoever types", async () => {
  for (const recorded of only("look ahead", ({ t_max_predict_ms }) => t_max_predict_ms === 1000)) {
    const { reply, standing } = await answer(recorded);
    assert.equal(typeof reply.json.content, "string");
    assert.equal(standing.priority, "speculative");
  }
});

Deno.test("llama.vim's warm-ups read the prompt, and draw nothing", async () => {
  for (const recorded of only("warm-up", ({ n_predict }) => n_predict === 0)) {
    const { reply, request, standing } = await answer(recorded);
    assert.deepEqual([request.maxTokens, standing.priority], [0, "warm-up"]);
    assert.equal(typeof reply.json, "object");
  }
});
