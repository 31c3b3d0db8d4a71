import assert from "node:assert/strict";
import type { GenerationRequest, Prompt } from "../../../engine/request.ts";
import { nativeReply } from "../../../routes/llama/generation_schema.ts";
import { FakeEngine, type Script } from "../fake_engine.ts";
import { eventData, openApp, post, type Reply } from "../requests.ts";

const PATH = "/completion";

async function complete(script: Script, body: Record<string, unknown>, path = PATH): Promise<Reply> {
  return await post(openApp(new FakeEngine(script)), path, { prompt: "x", ...body });
}

async function submitted(body: Record<string, unknown>): Promise<GenerationRequest[]> {
  const engine = new FakeEngine();
  const reply = await post(openApp(engine), PATH, { prompt: "x", ...body });
  assert.equal(reply.status, 200, reply.text);
  return engine.requests;
}

const text = (text: string): Prompt => ({ kind: "text", text, parseSpecial: true });
const tokens = (...ids: number[]): Prompt => ({ kind: "tokens", ids });

const PROMPTS: [name: string, prompt: unknown, expected: Prompt[]][] = [
  ["a text", "def", [text("def")]],
  ["an empty text as the end of a document", "", [tokens(0)]],
  ["token ids", [5, 6], [tokens(5, 6)]],
  ["token ids among texts", ["ab", 7, "c"], [tokens(97, 98, 7, 99)]],
  ["several texts", ["a", "b"], [text("a"), text("b")]],
  ["several of each form", ["a", [1, 2], [3, "b"]], [text("a"), tokens(1, 2), tokens(3, 98)]],
];

for (const [name, prompt, expected] of PROMPTS) {
  Deno.test(`/completion reads ${name}`, async () => {
    const requests = await submitted({ prompt });
    assert.deepEqual(requests.map(({ prompt }) => prompt), expected);
  });
}

Deno.test("/completion has llama.cpp's defaults, as /infill has", async () => {
  const [{ prompt: _, ...settings }] = await submitted({ id_slot: 0, n_keep: 3, dry_multiplier: 0.8 }) as [
    GenerationRequest,
  ];
  assert.deepEqual(settings, {
    n: 1,
    temperature: 0.8,
    topK: 40,
    topP: 0.95,
    minP: 0.05,
    presencePenalty: 0,
    frequencyPenalty: 0,
    stop: [],
    ignoreEos: false,
    promptText: true,
  });
});

const REJECTED: [body: Record<string, unknown>, param: string, message: RegExp][] = [
  [{ prompt: undefined }, "prompt", /^"prompt" is required$/],
  [{ prompt: null }, "prompt", /^"prompt" is required$/],
  [{ prompt: 5 }, "prompt", /must be a string, an array of token ids and strings.*received 5$/],
  [{ prompt: [] }, "prompt", /received an array of 0$/],
  [{ prompt: [[]] }, "prompt", /must be a string/],
  [{ prompt: [[["a"]]] }, "prompt", /must be a string/],
  [{ prompt: [1.5] }, "prompt", /received an array of 1 with 1.5 at \[0\]$/],
  [{ prompt: ["a", 1, -1] }, "prompt", /received an array of 3 with -1 at \[2\]$/],
  [{ prompt: ["a", [1, null]] }, "prompt", /received an array of 2 with null at \[1\]\[1\]$/],
  [{ prompt: { a: 1 } }, "prompt", /received an object$/],
  [{ prompt: Array(100).fill("a"), n_cmpl: 3 }, "prompt", /at most 256 completions together, received 300/],
  [{ prompt: [1, "x".repeat(300_000)] }, "prompt", /at most 131072 characters long, received 300000/],
  [{ temperature: "x" }, "temperature", /must be a number/],
  [{ post_sampling_probs: true }, "post_sampling_probs", /must be false/],
  [{ token_healing: true, n_probs: 1 }, "token_healing", /cannot be combined with "n_probs"/],
];

for (const [body, param, message] of REJECTED) {
  Deno.test(`/completion rejects ${JSON.stringify(body).slice(0, 60)} of ${param} in llama.cpp's shape`, async () => {
    const reply = await complete({}, body);
    assert.equal(reply.status, 400, reply.text);
    assert.match(reply.json.error.message, message);
    const { message: said } = reply.json.error;
    assert.deepEqual(reply.json, {
      error: { code: 400, message: said, type: "invalid_request_error", param },
    });
  });
}

Deno.test("/completion and /completions answer with llama.cpp's native object", async () => {
  for (const path of [PATH, "/completions"]) {
    const { json } = await complete({ tokens: ["a", "b"] }, { n_predict: 2 }, path);
    nativeReply.strict().parse(json);
    assert.deepEqual([json.content, json.prompt, json.stop_type, json.tokens_evaluated], [
      "ab",
      "x",
      "limit",
      1,
    ]);
  }
});

Deno.test("/completion answers several prompts, and one in a list, with an array in order of prompt and sample", async () => {
  const script = { tokens: ["t"], sampleLogprobs: [-1, -1] };
  const several = await complete(script, { prompt: ["p", "q"], n_cmpl: 2 });
  assert.deepEqual(
    several.json.map(({ index, content, prompt }: Record<string, unknown>) => [index, content, prompt]),
    [[0, "t0", "p"], [1, "t1", "p"], [2, "t0", "q"], [3, "t1", "q"]],
  );
  assert.equal((await complete(script, { prompt: ["p"] })).json.length, 1);
  assert.equal((await complete(script, { prompt: "p", n_cmpl: 2 })).json.length, 2);
});

Deno.test("/completion streams parts and ends with the full object, without [DONE]", async () => {
  const reply = await complete({ tokens: ["a", "b"] }, { stream: true });
  assert.match(reply.headers.get("content-type")!, /^text\/event-stream/);
  const data = eventData(reply.text);
  assert.equal(
    data[0],
    '{"index":0,"content":"a","tokens":[97],"stop":false,"id_slot":0,"tokens_predicted":1,"tokens_evaluated":1}',
  );
  assert.deepEqual(data.map((part) => JSON.parse(part).content), ["a", "b", ""]);
  nativeReply.strict().parse(JSON.parse(data.at(-1)!));
});

Deno.test("/completion only fills the cache with n_predict 0", async () => {
  const { json } = await complete({}, { n_predict: 0 });
  assert.deepEqual([json.content, json.tokens_predicted], ["", 0]);
});
