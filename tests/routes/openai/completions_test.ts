// What /v1/completions answers at once; the body that asks for it, streams and errors have tests of their own.
import assert from "node:assert/strict";
import { completionReply } from "../../../routes/openai/completion_schema.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";
import { eventData, openApp, post } from "../requests.ts";
import { complete, PATH } from "./complete.ts";

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
