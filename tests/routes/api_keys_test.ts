import assert from "node:assert/strict";
import { parseApiKeys } from "../../routes/api_keys.ts";

Deno.test("parseApiKeys() reads one key a line, with what is said of it", () => {
  const text = [
    "# who may use the box",
    "",
    "sk-bare",
    "sk-a#1  name=alice   concurrency=4 tokens_per_minute=60000  # our own",
    "\tsk=b name=bob@example.org\r",
  ].join("\n");
  assert.deepEqual(parseApiKeys(text), [
    { key: "sk-bare", name: "line-3" },
    { key: "sk-a#1", name: "alice", concurrency: 4, tokensPerMinute: 60000 },
    { key: "sk=b", name: "bob@example.org" },
  ]);
});

Deno.test("parseApiKeys() finds no key in a file of comments", () => {
  assert.deepEqual(parseApiKeys("# nothing\n\n   # here\n"), []);
});

const WRONG: [line: string, message: RegExp][] = [
  ["k limit=3", /line 2: after the key must come name=…, concurrency=….*received "limit"/],
  ["k name=", /line 2: "name" must be 1 to 64 letters/],
  ["k name=<b>", /line 2: "name" must be/],
  ["k concurrency=0", /"concurrency" must be a whole number above 0, received "0"/],
  ["k concurrency=many", /"concurrency" must be a whole number above 0, received "many"/],
  ["k tokens_per_minute=1.5", /"tokens_per_minute" must be a whole number above 0/],
  ["k name=a name=b", /line 2: "name" must be given once/],
  ["first", /a key stands there twice/],
  ["k name=line-1", /two keys have the name "line-1"/],
];

for (const [line, message] of WRONG) {
  Deno.test(`parseApiKeys() refuses "${line}", and says what the line must be`, () => {
    assert.throws(() => parseApiKeys(`first\n${line}`), (error) => {
      assert.ok(error instanceof SyntaxError);
      assert.match(error.message, message);
      return true;
    });
  });
}

Deno.test("parseApiKeys() shows no part of a key in its errors", () => {
  assert.throws(() => parseApiKeys("sk-left SECRET-right"), (error) => {
    assert.doesNotMatch((error as Error).message, /SECRET|sk-left/);
    return true;
  });
});
