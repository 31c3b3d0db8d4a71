import assert from "node:assert/strict";
import { encodeParts, encodeText, MAX_ENCODED_CHARACTERS } from "../../routes/encode_text.ts";
import { HttpProblem } from "../../routes/http_problem.ts";
import { FakeEngine } from "./fake_engine.ts";

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
