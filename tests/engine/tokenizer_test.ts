import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import fc from "../fast_check.ts";
import { Detokenizer } from "../../engine/detokenizer.ts";
import { Tokenizer } from "../../engine/tokenizer.ts";
import golden from "../fixtures/tokenizer_golden.json" with { type: "json" };
import { byteIds, tinyTokenizerJson } from "./tiny_tokenizer.ts";

const json = JSON.parse(
  await Deno.readTextFile(`${DEFAULT_MODEL_DIR}/tokenizer.json`),
);
const real = new Tokenizer(json, { clean_up_tokenization_spaces: true });
const tiny = new Tokenizer(tinyTokenizerJson());

Deno.test("Tokenizer.encode() gives the ids of the Rust library, special tokens parsed or not", () => {
  for (const { text, plain, special } of golden.texts) {
    assert.deepEqual(real.encode(text), plain, JSON.stringify(text));
    assert.deepEqual(real.encode(text, { parseSpecial: true }), special, JSON.stringify(text));
  }
});

Deno.test("Tokenizer.decode() returns any well-formed text unchanged, spaces before punctuation too", () => {
  for (const { text, plain } of golden.texts) assert.equal(real.decode(plain), text);
  const text = fc.string({ unit: "binary", maxLength: 80 });
  fc.assert(fc.property(text, (text) => assert.equal(real.decode(real.encode(text)), text)));
  assert.equal(real.decode([]), "");
});

Deno.test("Tokenizer.encode() without parseSpecial never yields a control token", () => {
  const pieces = fc.array(
    fc.oneof(
      fc.constantFrom("<fim_suffix>", "<|endoftext|>", "<filename>", "<fim_", "suffix>", "<", ">"),
      fc.string(),
    ),
  );
  fc.assert(fc.property(pieces, (pieces) => {
    const text = pieces.join("");
    const ids = real.encode(text);
    assert.ok(!ids.some((id) => real.isControl(id)));
    assert.equal(real.decode(ids), text);
  }));
});

Deno.test("Tokenizer.encode() finds a control token beside text when it parses them", () => {
  assert.deepEqual(tiny.encode("a<fim_suffix>b", { parseSpecial: true }), [
    ...byteIds("a"),
    3,
    ...byteIds("b"),
  ]);
  assert.deepEqual(tiny.encode("<fim_prefix><fim_middle>", { parseSpecial: true }), [1, 2]);
});

Deno.test("Tokenizer treats SantaCoder's undeclared tokens and named ones as control tokens", () => {
  const undeclared = tinyTokenizerJson([
    "<|endoftext|>",
    "<fim-prefix>",
    "<fim-middle>",
    "<fim-suffix>",
    "<PRE>",
  ]);
  const tokenizer = new Tokenizer({ ...undeclared, added_tokens: [] }, {}, { controlTokens: ["<PRE>"] });
  assert.deepEqual(tokenizer.encode("<fim-middle><PRE>", { parseSpecial: true }), [2, 4]);
  assert.ok(tokenizer.isControl(4) && !tokenizer.encode("<PRE>").includes(4));
});

Deno.test("Tokenizer.fewestTokens() never exceeds the true count", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme", maxLength: 200 }), (text) => {
    assert.ok(real.fewestTokens(text) <= real.encode(text).length);
  }));
  assert.ok(real.fewestTokens("x".repeat(10_000_000)) > 2048);
});

Deno.test("Tokenizer.has() tells tokens from padding rows", () => {
  assert.equal(real.vocabSize, 16384);
  assert.ok(real.has(0) && real.has(16383) && !real.has(16384) && !real.has(-1));
});

Deno.test("Tokenizer refuses what is no byte-level BPE tokenizer", () => {
  const base = tinyTokenizerJson() as Record<string, unknown>;
  for (
    const broken of [
      null,
      {},
      { ...base, decoder: { type: "WordPiece" } },
      { ...base, model: { type: "Unigram", vocab: [], merges: [] } },
      { ...base, model: { type: "BPE", vocab: { "▁the": 0 }, merges: [] } },
      { ...base, added_tokens: [{ id: 2 ** 40, content: "<x>", special: true }] },
    ]
  ) {
    assert.throws(() => new Tokenizer(broken), SyntaxError);
  }
});

Deno.test("Tokenizer says that tokenizer.json is at fault where the library only stumbles", () => {
  const base = tinyTokenizerJson() as { model: object };
  for (
    const broken of [
      { ...base, model: { ...base.model, merges: [1, null] } },
      { ...base, pre_tokenizer: { type: "Nope" } },
      {
        ...base,
        pre_tokenizer: { type: "Split", pattern: { Regex: "((" }, behavior: "Isolated", invert: false },
      },
      { ...base, added_tokens: [null] },
      { ...base, added_tokens: [{ id: 1 }] },
    ]
  ) {
    assert.throws(() => new Tokenizer(broken), { name: "SyntaxError", message: /^Cannot load tokenizer: / });
  }
});

Deno.test("Detokenizer.push() joins characters split over tokens and never delivers half of one", () => {
  const text = fc.string({ unit: "binary", maxLength: 40 });
  fc.assert(fc.property(text, (text) => {
    const detokenizer = new Detokenizer(tiny);
    const pieces = byteIds(text).map((id) => detokenizer.push(id));
    assert.equal(pieces.join(""), text);
    for (const piece of pieces) {
      assert.ok(piece.isWellFormed() && !/^[\uDC00-\uDFFF]|[\uD800-\uDBFF]$/.test(piece));
    }
  }));
});

Deno.test("Detokenizer.push() keeps a byte-order mark, spells out no control token, and marks broken bytes", () => {
  const detokenizer = new Detokenizer(tiny);
  const ids = [...byteIds("\ufeffa"), 0, 3, ...byteIds("b"), byteIds("é")[0], ...byteIds("c")];
  assert.equal(ids.map((id) => detokenizer.push(id)).join(""), "\ufeffab\ufffdc");
});
