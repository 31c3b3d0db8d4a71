// Token healing as clients ask for it and read of it, in both dialects.
import assert from "node:assert/strict";
import { nativeReply } from "../../routes/llama/generation_schema.ts";
import { completionReply } from "../../routes/openai/completion_schema.ts";
import { FakeEngine } from "./fake_engine.ts";
import { eventData, openApp, post } from "./requests.ts";

const COMPLETIONS = "/v1/completions";

Deno.test("token_healing reaches the engine from both dialects, and is absent where it was", async () => {
  for (
    const [path, body] of [[COMPLETIONS, { prompt: "a" }], ["/infill", {
      input_prefix: "a",
      input_suffix: "",
    }]] as const
  ) {
    const engine = new FakeEngine({});
    for (const token_healing of [true, false]) await post(openApp(engine), path, { ...body, token_healing });
    await post(openApp(engine), path, body);
    assert.deepEqual(engine.requests.map(({ tokenHealing }) => tokenHealing), [true, false, undefined]);
  }
});

Deno.test("/v1/completions names the healed bytes where its choice ends, plain and streamed", async () => {
  const app = openApp(new FakeEngine({ healed: 3 }));
  const { json } = await post(app, COMPLETIONS, { prompt: "abc" });
  completionReply.parse(json);
  assert.deepEqual([json.choices[0].healed, json.usage.prompt_tokens], [3, 3]);
  const { text } = await post(app, COMPLETIONS, { prompt: "abc", stream: true });
  const healed = eventData(text).slice(0, -1).map((data) => JSON.parse(data).choices[0].healed);
  assert.deepEqual([healed.at(-1), new Set(healed.slice(0, -1))], [3, new Set([undefined])]);
  const plain = await post(openApp(new FakeEngine({})), COMPLETIONS, { prompt: "abc" });
  assert.equal("healed" in plain.json.choices[0], false);
});

Deno.test("/infill names the healed bytes", async () => {
  const body = { input_prefix: "a", input_suffix: "" };
  const { json } = await post(openApp(new FakeEngine({ healed: 2 })), "/infill", body);
  nativeReply.parse(json);
  assert.equal(json.healed, 2);
  assert.equal("healed" in (await post(openApp(new FakeEngine({})), "/infill", body)).json, false);
});

Deno.test("Both dialects refuse token_healing with log-probabilities, which show whole tokens", async () => {
  const app = openApp(new FakeEngine({}));
  const hole = { input_prefix: "a", input_suffix: "" };
  const cases: [path: string, body: object, field: string][] = [
    [COMPLETIONS, { prompt: "a", logprobs: 0 }, "logprobs"],
    ["/infill", { ...hole, n_probs: 1 }, "n_probs"],
    ["/infill", { ...hole, logprobs: 2 }, "logprobs"],
  ];
  for (const [path, body, field] of cases) {
    const { status, json } = await post(app, path, { ...body, token_healing: true });
    assert.deepEqual([status, json.error.param], [400, "token_healing"]);
    assert.match(json.error.message, new RegExp(`cannot be combined with "${field}"`));
    assert.equal((await post(app, path, body)).status, 200);
  }
  assert.equal((await post(app, "/infill", { ...hole, token_healing: true, n_probs: 0 })).status, 200);
});
