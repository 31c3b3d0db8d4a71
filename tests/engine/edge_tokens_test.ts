// The tokens at the end of a text are those of the whole text, though only the end is encoded.
import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import { lastTokens } from "../../engine/edge_tokens.ts";
import { Tokenizer } from "../../engine/tokenizer.ts";
import fc from "../fast_check.ts";

const tokenizer = new Tokenizer(JSON.parse(Deno.readTextFileSync(`${DEFAULT_MODEL_DIR}/tokenizer.json`)));
const parts = fc.constantFrom(
  ...["<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<|endoftext|>", "<issue_comment>"],
  ...["\n", "\n        ", " ", "unregistered", "self.", "é", "漢字", "🙂", "(", "==", "42"],
);

Deno.test("lastTokens() are those of the whole text, also where its cut falls in the name of a control token", () => {
  fc.assert(fc.property(
    fc.array(parts, { minLength: 30, maxLength: 300, size: "max" }).map((parts) => parts.join("")),
    fc.integer({ min: 1, max: 40 }),
    (text, count) => {
      const options = { parseSpecial: true }, all = tokenizer.encode(text, options);
      const { ids, truncated } = lastTokens(tokenizer, text, count, options);
      assert.deepEqual(ids.slice(-count), all.slice(-count));
      assert.ok(truncated || ids.length === all.length);
    },
  ));
});
