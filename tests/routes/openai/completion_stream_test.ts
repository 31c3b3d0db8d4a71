// Streams of /v1/completions.
import assert from "node:assert/strict";
import { completionReply } from "../../../routes/openai/completion_schema.ts";
import { until } from "../delay.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";
import { eventData, openApp } from "../requests.ts";
import { complete, PATH } from "./complete.ts";

Deno.test("/v1/completions streams chunks, then [DONE]", async () => {
  const reply = await complete({ tokens: ["a", "", "b"], heldBack: "c" }, { stream: true });
  assert.equal(reply.status, 200);
  assert.equal(reply.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const data = eventData(reply.text);
  assert.equal(data.pop(), "[DONE]");
  const chunks = data.map((chunk) => JSON.parse(chunk));
  for (const chunk of chunks) {
    completionReply.strict().parse(chunk);
    assert.equal(chunk.id, chunks[0].id);
    assert.equal("usage" in chunk, false);
    assert.equal(chunk.timings?.predicted_n, chunk === chunks.at(-1) ? 3 : undefined);
  }
  assert.deepEqual(chunks.map(({ choices }) => choices), [
    [{ text: "a", index: 0, logprobs: null, finish_reason: null }],
    [{ text: "b", index: 0, logprobs: null, finish_reason: null }],
    [{ text: "c", index: 0, logprobs: null, finish_reason: "stop" }],
  ]);
});

Deno.test("/v1/completions ends a stream with the usage when asked", async () => {
  const reply = await complete({}, { stream: true, stream_options: { include_usage: true } });
  const chunks = eventData(reply.text).slice(0, -1).map((chunk) => JSON.parse(chunk));
  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.deepEqual(last.usage, {
    prompt_tokens: 1,
    completion_tokens: 3,
    total_tokens: 4,
    prompt_tokens_details: { cached_tokens: 0 },
  });
  for (const chunk of chunks) assert.equal(chunk.usage, null);
});

Deno.test("/v1/completions streams the same text, logprobs and ends as it answers at once", async () => {
  const body = { prompt: ["p", "qr"], n: 2, echo: true, logprobs: 2 };
  const script: Script = { tokens: ["a", "bc"], heldBack: "d" };
  const plain = await complete(script, body);
  const streamed = eventData((await complete(script, { ...body, stream: true })).text).slice(0, -1);
  const texts = ["", "", "", ""];
  const offsets: number[][] = [[], [], [], []];
  for (const chunk of streamed.map((data) => JSON.parse(data))) {
    const [choice] = chunk.choices;
    texts[choice.index] += choice.text;
    offsets[choice.index]!.push(...choice.logprobs?.text_offset ?? []);
  }
  assert.deepEqual(texts, plain.json.choices.map((choice: { text: string }) => choice.text));
  assert.deepEqual(
    offsets,
    plain.json.choices.map((choice: { logprobs: { text_offset: number[] } }) => choice.logprobs.text_offset),
  );
});

Deno.test("/v1/completions is cancelled when a server in between drops the body of a stream", async () => {
  const engine = new FakeEngine({ tokens: Array(1000).fill("a"), tokenDelayMs: 5 });
  const response = await openApp(engine).request(PATH, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ prompt: "x", max_tokens: 1000, stream: true }),
  });
  await response.body!.cancel();
  await until(() => engine.cancelled === 1, "the request is cancelled");
});
