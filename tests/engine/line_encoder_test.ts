// Encoding line by line with a memory is encoding at once.
import assert from "node:assert/strict";
import { basename } from "std/path/mod.js";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import fc from "../fast_check.ts";
import { encodesLinesApart, LineEncoder } from "../../engine/line_encoder.ts";
import { Tokenizer } from "../../engine/tokenizer.ts";
import { tinyTokenizerJson } from "./tiny_tokenizer.ts";

/** GPT-2's words, and those of training/train_tokenizer.py. */
const TOKENIZERS = [DEFAULT_MODEL_DIR, "training"];
const jsons = await Promise.all(
  TOKENIZERS.map(async (folder) => JSON.parse(await Deno.readTextFile(`${folder}/tokenizer.json`))),
);
/** An added token, though no text has it, makes a tokenizer encode every text at once. */
const never = { id: jsons[0].added_tokens.length, content: "\u0000never\u0000", special: false };

const piece = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom("\n", "\n\n", " ", "    ", "\t", "\r\n", "\n  ", "\u00a0", "\u2028", "\ufeff"),
  },
  { weight: 4, arbitrary: fc.constantFrom("a", "don't", "x1", "42", "²", "()", "é", "😀", "'s", "{", "_") },
  fc.string({ unit: "binary", maxLength: 6 }),
);

for (const [i, json] of jsons.entries()) {
  const byLines = new Tokenizer(json);
  const atOnce = new Tokenizer({ ...json, added_tokens: [...json.added_tokens, never] });

  Deno.test(`Tokenizer.encode() gives a text's tokens line by line as at once, whatever white space there is [${basename(TOKENIZERS[i])}]`, () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        const text = pieces.join("");
        assert.deepEqual(byLines.encode(text), atOnce.encode(text), JSON.stringify(text));
      }),
      { numRuns: 1000 },
    );
  });
}

Deno.test("LineEncoder encodes a line once, and one that was not used for long again", () => {
  const encoded: string[] = [];
  const encoder = new LineEncoder((line) => {
    encoded.push(line);
    return [line.length];
  });
  assert.deepEqual(encoder.encode("ab\n  c\n\nd\n"), [2, 4, 3, 1]);
  assert.deepEqual(encoder.encode("ab\n  c\n\nx\n"), [2, 4, 3, 1]);
  assert.deepEqual(encoded, ["ab", "\n  c", "\n\nd", "\n", "\n\nx"]);
  encoded.length = 0;
  for (let i = 0; i < 40_000; i++) encoder.encode(i % 100 === 0 ? "ab" : `line ${i}`);
  assert.ok(!encoded.includes("ab"), "it was in use");
  encoder.encode("\n  c");
  assert.equal(encoded.at(-1), "\n  c");
});

Deno.test("encodesLinesApart() is sure of GPT-2's pattern and our own alone", () => {
  for (const json of jsons) assert.ok(encodesLinesApart(json));
  const [json] = jsons;
  const preTokenizers: unknown[] = [
    null,
    { type: "ByteLevel", use_regex: false },
    { type: "ByteLevel", add_prefix_space: true },
    { type: "Sequence", pretokenizers: [{ type: "Split" }, { type: "ByteLevel" }] },
    {
      type: "Sequence",
      pretokenizers: [{ type: "Split", pattern: { Regex: "\\s+" }, behavior: "Isolated", invert: false }, {
        type: "ByteLevel",
        use_regex: false,
      }],
    },
    { type: "Whitespace" },
  ];
  for (const pre_tokenizer of preTokenizers) assert.ok(!encodesLinesApart({ pre_tokenizer }));
  assert.ok(!encodesLinesApart({ ...json, normalizer: { type: "NFC" } }));
  assert.ok(encodesLinesApart(tinyTokenizerJson()));
});
