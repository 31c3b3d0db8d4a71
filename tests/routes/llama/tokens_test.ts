import assert from "node:assert/strict";
import { FakeEngine } from "../fake_engine.ts";
import { openApp, post } from "../requests.ts";

const ask = (path: string, body: unknown) => post(openApp(new FakeEngine()), path, body);

Deno.test("/tokenize gives a text's tokens, of parts with token ids among them too", async () => {
  assert.deepEqual((await ask("/tokenize", { content: "aé" })).json, { tokens: [97, 233] });
  assert.deepEqual((await ask("/tokenize", { content: ["a", 5, "b"], add_special: true })).json, {
    tokens: [97, 5, 98],
  });
  assert.deepEqual((await ask("/tokenize", { content: "" })).json, { tokens: [] });
});

Deno.test("/tokenize gives pieces as text, or as bytes where they are no whole characters", async () => {
  const { json } = await ask("/tokenize", { content: "é𝕏", with_pieces: true });
  assert.deepEqual(json, { tokens: [{ id: 233, piece: "é" }, { id: 0x1d54f, piece: [0xf0, 0x9d] }] });
});

Deno.test("/tokenize parses control tokens unless told otherwise", async () => {
  const engine = new FakeEngine(), asked: unknown[] = [];
  engine.tokenize = (_text: string, options?: { parseSpecial?: boolean }) => {
    asked.push(options?.parseSpecial);
    return Promise.resolve([]);
  };
  for (const body of [{}, { parse_special: false }]) {
    await post(openApp(engine), "/tokenize", { content: "x", ...body });
  }
  assert.deepEqual(asked, [true, false]);
});

Deno.test("/detokenize gives the text of tokens, of very many too", async () => {
  assert.deepEqual((await ask("/detokenize", { tokens: [97, 233] })).json, { content: "aé" });
  const { json } = await ask("/detokenize", { tokens: Array(5000).fill(97) });
  assert.equal(json.content.length, 5000);
});

const REJECTED: [path: string, body: Record<string, unknown>, message: string][] = [
  ["/tokenize", {}, '"content" is required'],
  ["/tokenize", { content: null }, '"content" is required'],
  [
    "/tokenize",
    { content: 5 },
    '"content" must be a string, or an array of strings and token ids, received 5',
  ],
  [
    "/tokenize",
    { content: ["a", {}] },
    '"content" must be a string, or an array of strings and token ids, received an array of 2 with an object at [1]',
  ],
  [
    "/tokenize",
    { content: "a".repeat(131_073) },
    '"content" must be at most 131072 characters long, received 131073',
  ],
  ["/tokenize", { content: "a", with_pieces: 1 }, '"with_pieces" must be true or false, received 1'],
  ["/detokenize", {}, '"tokens" is required'],
  [
    "/detokenize",
    { tokens: [1, "a"] },
    '"tokens" must be an array of at most 131072 token ids, received an array of 2 with "a" at [1]',
  ],
  ["/detokenize", { tokens: "a" }, '"tokens" must be an array of at most 131072 token ids, received "a"'],
];

for (const [path, body, message] of REJECTED) {
  Deno.test(`${path} rejects ${JSON.stringify(body).slice(0, 50)} in llama.cpp's shape`, async () => {
    const reply = await ask(path, body);
    assert.equal(reply.status, 400);
    const param = path === "/tokenize" ? "with_pieces" in body ? "with_pieces" : "content" : "tokens";
    assert.deepEqual(reply.json, { error: { code: 400, message, type: "invalid_request_error", param } });
  });
}
