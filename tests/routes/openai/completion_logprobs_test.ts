// Log-probabilities and echoed prompts of /v1/completions.
import assert from "node:assert/strict";
import { complete } from "./complete.ts";

Deno.test("/v1/completions reports logprobs with the drawn token among the likeliest", async () => {
  const reply = await complete({ tokens: ["é", "𝒳y", "z"] }, { logprobs: 1 });
  assert.deepEqual(reply.json.choices[0].logprobs, {
    tokens: ["é", "𝒳y", "z"],
    token_logprobs: [-0.25, -0.25, -0.25],
    top_logprobs: [{ A: -1, "é": -0.25 }, { A: -1, "𝒳y": -0.25 }, { A: -1, z: -0.25 }],
    text_offset: [0, 1, 3],
  });
});

Deno.test("/v1/completions writes a log-probability of -Infinity as -9999", async () => {
  const reply = await complete({ tokens: ["a"], logprob: -Infinity }, { logprobs: 0 });
  assert.deepEqual(reply.json.choices[0].logprobs.token_logprobs, [-9999]);
  assert.deepEqual(reply.json.choices[0].logprobs.top_logprobs, [{ a: -9999 }]);
});

Deno.test("/v1/completions reports logprobs of no token as empty lists, and none where none were asked for", async () => {
  const asked = await complete({ tokens: [] }, { logprobs: 1 });
  const empty = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  assert.deepEqual(asked.json.choices[0].logprobs, empty);
  assert.equal((await complete({ tokens: [] }, {})).json.choices[0].logprobs, null);
});

Deno.test("/v1/completions scores a prompt: echo, max_tokens 0, logprobs", async () => {
  const reply = await complete({}, { prompt: "def", echo: true, max_tokens: 0, logprobs: 1 });
  assert.deepEqual(reply.json.choices, [{
    text: "def",
    index: 0,
    logprobs: {
      tokens: ["d", "e", "f"],
      token_logprobs: [null, -0.5, -0.5],
      top_logprobs: [null, { A: -1, e: -0.5 }, { A: -1, f: -0.5 }],
      text_offset: [0, 1, 2],
    },
    finish_reason: "length",
  }]);
});

Deno.test("/v1/completions echoes an empty prompt as nothing, not as the token that stands for it", async () => {
  const reply = await complete({ tokens: ["a"] }, { prompt: "", echo: true, logprobs: 0 });
  assert.equal(reply.json.choices[0].text, "a");
  assert.deepEqual(reply.json.choices[0].logprobs.tokens, ["a"]);
});

Deno.test("/v1/completions counts offsets from the start of an echoed prompt", async () => {
  const reply = await complete({ tokens: ["a", "b"] }, { prompt: "def", echo: true, logprobs: 0 });
  assert.deepEqual(reply.json.choices[0].logprobs.text_offset, [0, 1, 2, 3, 4]);
  assert.equal(reply.json.choices[0].text, "defab");
});
