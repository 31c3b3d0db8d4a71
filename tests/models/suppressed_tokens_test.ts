import { deepStrictEqual } from "node:assert/strict";
import { suppressedTokens } from "../../models/suppressed_tokens.ts";

const TOKENIZER = { model: { vocab: { a: 0, b: 1, c: 2 } }, added_tokens: [{ id: 3, content: "<x>" }] };

Deno.test("suppressedTokens() adds the padding rows of the head and drops ids outside it", () => {
  deepStrictEqual(suppressedTokens(TOKENIZER, 6, [1, 99]), [1, 4, 5]);
});

Deno.test("suppressedTokens() adds nothing where the vocabulary cannot be read", () => {
  deepStrictEqual(suppressedTokens({ model: {} }, 6, [2]), [2]);
  deepStrictEqual(suppressedTokens(null, 6, []), []);
});
