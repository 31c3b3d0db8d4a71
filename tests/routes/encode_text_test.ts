import assert from "node:assert/strict";
import { encodeParts, encodeText, lastTokensOf, MAX_ENCODED_CHARACTERS } from "../../routes/encode_text.ts";
import { HttpProblem } from "../../routes/http_problem.ts";
import { FakeEngine } from "./fake_engine.ts";

/** An engine in which `perToken` characters are a token, and the lengths of what it has encoded. */
function engineOf(perToken: number) {
  const engine = new FakeEngine(), encoded: number[] = [];
  engine.tokenize = (text: string) => {
    encoded.push(text.length);
    return Promise.resolve(Array.from({ length: Math.ceil(text.length / perToken) }, (_, i) => i));
  };
  return { engine, encoded };
}

Deno.test("lastTokensOf() encodes no more of a long text than its last tokens take", async () => {
  const { engine, encoded } = engineOf(4);
  assert.equal((await lastTokensOf(engine, "x".repeat(1_000_000), 100)).length, 100);
  assert.deepEqual(encoded, [800]);
});

Deno.test("lastTokensOf() reads further back where tokens are long, up to what a request may have encoded", async () => {
  const long = engineOf(30);
  assert.equal((await lastTokensOf(long.engine, "x".repeat(1_000_000), 100)).length, 100);
  assert.deepEqual(long.encoded, [800, 1600, 3200]);
  const endless = engineOf(1e9);
  assert.equal((await lastTokensOf(endless.engine, "x".repeat(1_000_000), 100)).length, 1);
  assert.equal(Math.max(...endless.encoded), MAX_ENCODED_CHARACTERS);
  const short = engineOf(4);
  assert.equal((await lastTokensOf(short.engine, "x".repeat(10), 100)).length, 3);
});

Deno.test("lastTokensOf() begins with no half of a character", async () => {
  const engine = new FakeEngine();
  const ids = await lastTokensOf(engine, "🙂".repeat(100), 3);
  assert.deepEqual(ids, Array(3).fill("🙂".codePointAt(0)));
  assert.deepEqual(await lastTokensOf(engine, "a" + "🙂".repeat(12), 3), Array(3).fill("🙂".codePointAt(0)));
});

Deno.test("encodeText() and encodeParts() refuse more than a request may have encoded, naming the field", async () => {
  const engine = new FakeEngine(), half = "x".repeat(MAX_ENCODED_CHARACTERS / 2);
  assert.equal((await encodeParts(engine, [half, 7, half], "prompt")).length, MAX_ENCODED_CHARACTERS + 1);
  for (
    const refused of [
      () => encodeText(engine, `${half}${half}x`, "prompt"),
      () => encodeParts(engine, [half, half, "x"], "prompt"),
    ]
  ) {
    await assert.rejects(refused, (error) => {
      assert.ok(error instanceof HttpProblem);
      assert.equal(error.details.param, "prompt");
      return true;
    });
  }
});
