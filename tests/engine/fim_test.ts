import assert from "node:assert/strict";
import { DEFAULT_MODEL_DIR } from "../../cli/default_model.ts";
import fc from "../fast_check.ts";
import { detectFim, endTokenIds } from "../../engine/fim.ts";
import { buildInfillPrompt } from "../../engine/infill_prompt.ts";
import type { FimLayout } from "../../engine/request.ts";
import { Tokenizer } from "../../engine/tokenizer.ts";
import golden from "../fixtures/tokenizer_golden.json" with { type: "json" };
import { byteIds, tinyTokenizerJson } from "./tiny_tokenizer.ts";

const json = JSON.parse(
  await Deno.readTextFile(`${DEFAULT_MODEL_DIR}/tokenizer.json`),
);
const real = new Tokenizer(json);
const tiny = new Tokenizer(tinyTokenizerJson());
const fim = detectFim(tiny);
const FILENAME = 5;

function build(request: object, budget = 1000, tokenizer = tiny) {
  const prompt = { kind: "infill" as const, prefix: "", suffix: "", layout: "psm" as const, ...request };
  return buildInfillPrompt(tokenizer, detectFim(tokenizer), prompt, { prompt: budget });
}

Deno.test("buildInfillPrompt() gives the golden ids of both layouts, also with empty parts", () => {
  for (const { prefix, suffix, psm, spm } of golden.infill) {
    for (const [layout, ids] of [["psm", psm], ["spm", spm]] as [FimLayout, number[]][]) {
      assert.deepEqual(build({ prefix, suffix, layout }, 1000, real), { ids, layout, truncated: false });
    }
  }
});

Deno.test("buildInfillPrompt() takes control tokens from lineStart alone", () => {
  const { ids } = build({ prefix: "<fim_suffix>", lineStart: "a<filename>", suffix: "<fim_middle>" });
  const [open, close] = [byteIds("<fim_suffix>"), byteIds("<fim_middle>")];
  assert.deepEqual(ids, [1, ...open, ...byteIds("a"), FILENAME, 3, ...close, 2]);
});

Deno.test("buildInfillPrompt() puts other files inside the prefix, each with its name, then the file's own", () => {
  const extra = [{ filename: "a.py", text: "A" }, { text: "B" }];
  const files = [
    ...[FILENAME, ...byteIds("a.py\nA")],
    ...[FILENAME, ...byteIds("filename\nB")],
    ...[FILENAME, ...byteIds("c.py\n")],
  ];
  const request = { prefix: "P", suffix: "S", extra, filename: "c.py" };
  assert.deepEqual(build(request).ids, [1, ...files, ...byteIds("P"), 3, ...byteIds("S"), 2]);
  assert.deepEqual(
    build({ ...request, layout: "spm" }).ids,
    [1, 3, ...byteIds("S"), 2, ...files, ...byteIds("P")],
  );
});

Deno.test("buildInfillPrompt() puts other files before the infill tokens where the model has <file_sep>", () => {
  const specials = [
    "<|endoftext|>",
    "<fim_prefix>",
    "<fim_middle>",
    "<fim_suffix>",
    "<file_sep>",
    "<repo_name>",
  ];
  const tokenizer = new Tokenizer(tinyTokenizerJson(specials));
  const bytes = (text: string) => tokenizer.encode(text);
  const { ids } = build(
    { prefix: "P", extra: [{ filename: "a", text: "A" }], filename: "b" },
    1000,
    tokenizer,
  );
  assert.deepEqual(ids, [4, ...bytes("a\nA"), 4, 1, ...bytes("b\nP"), 3, 2]);
});

Deno.test("buildInfillPrompt() keeps the prefix's end and the suffix's start, three to one", () => {
  const { ids, truncated } = build({ prefix: "p".repeat(500) + "P", suffix: "S" + "s".repeat(500) }, 103);
  assert.equal(truncated, true);
  assert.deepEqual(ids, [1, ...byteIds("p".repeat(74) + "P"), 3, ...byteIds("S" + "s".repeat(24)), 2]);
});

Deno.test("buildInfillPrompt() gives the other side what one side leaves", () => {
  const short = build({ prefix: "p".repeat(500), suffix: "s" }, 103).ids;
  assert.equal(short.indexOf(3), 1 + 99);
  const empty = build({ prefix: "", suffix: "s".repeat(500) }, 103).ids;
  assert.deepEqual(empty, [1, 3, ...byteIds("s".repeat(100)), 2]);
});

Deno.test("buildInfillPrompt() cuts on a line boundary that is near, and elsewhere where none is", () => {
  const lines = "abcmnop\n".repeat(100);
  const { ids } = build({ prefix: lines, suffix: lines }, 103);
  const prefix = tiny.decode(ids.slice(1, ids.indexOf(3)));
  const suffix = tiny.decode(ids.slice(ids.indexOf(3) + 1, -1));
  assert.match(prefix, /^\n?(abcmnop\n){9}$/);
  assert.match(suffix, /^(abcmnop\n){3}$/);
});

Deno.test("buildInfillPrompt() keeps the newest of the other files and never passes its budget", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "\n", " ", "é", "🙂"), maxLength: 120 });
  const request = fc.record({
    prefix: text,
    suffix: text,
    lineStart: text,
    layout: fc.constantFrom("psm", "spm"),
    extra: fc.array(fc.record({ filename: text, text })),
  });
  fc.assert(fc.property(request, fc.integer({ min: 24, max: 300 }), (request, budget) => {
    const { ids, truncated } = build(request, budget);
    assert.ok(ids.length <= budget, `${ids.length} tokens in ${budget}`);
    const whole = build(request, 100_000);
    assert.equal(whole.truncated, false);
    if (!truncated && request.extra.length === 0) assert.deepEqual(ids, whole.ids);
  }));
  const extra = [{ filename: "old", text: "o".repeat(50) }, { filename: "new", text: "n".repeat(50) }];
  const text90 = tiny.decode(build({ prefix: "p", extra }, 90).ids);
  assert.ok(text90.includes("new\n" + "n".repeat(50)) && !text90.includes("o".repeat(50)));
});

Deno.test("buildInfillPrompt() takes the layout with fewest tokens to compute, and SPM of equals", () => {
  const layoutFor = (cached: Partial<Record<FimLayout, number>>, request: object = {}, support = fim) => {
    const prompt = { kind: "infill" as const, prefix: "P", suffix: "S", ...request };
    const countCached = (ids: readonly number[]) => cached[ids[1] === 3 ? "spm" : "psm"] ?? 0;
    const computed = { countCached, weigh: (_: FimLayout, __: readonly number[], count: number) => count };
    return buildInfillPrompt(tiny, support, prompt, { prompt: 1000 }, computed).layout;
  };
  assert.equal(layoutFor({}), "spm");
  assert.equal(layoutFor({ psm: 2 }), "psm");
  assert.equal(layoutFor({ psm: 2, spm: 2 }), "spm");
  assert.equal(layoutFor({ psm: 2, spm: 3 }), "spm");
  assert.equal(layoutFor({ psm: 2 }, { layout: "spm" }), "spm", "forced by the request");
  assert.equal(layoutFor({ spm: 2 }, {}, { ...fim, layouts: ["psm"] }), "psm", "forced by the server");
});

Deno.test("detectFim() finds SantaCoder's spelling, takes overrides, and says what is missing", () => {
  const santa = new Tokenizer(
    tinyTokenizerJson(["<|endoftext|>", "<fim-prefix>", "<fim-middle>", "<fim-suffix>"]),
  );
  assert.deepEqual(detectFim(santa).tokens, { prefix: 1, middle: 2, suffix: 3 });
  const lacking = new Tokenizer(tinyTokenizerJson(["<|endoftext|>", "<fim_prefix>", "<fim_suffix>"]));
  assert.deepEqual(detectFim(lacking).missing, ["middle"]);
  assert.equal(detectFim(lacking).tokens, undefined);
  const named = new Tokenizer(tinyTokenizerJson(["<e>", "<P>", "<M>", "<S>"]), {}, {
    controlTokens: ["<P>", "<M>", "<S>"],
  });
  const overrides = { prefix: "<P>", middle: "<M>", suffix: "<S>" };
  assert.deepEqual(detectFim(named, overrides).tokens, { prefix: 1, middle: 2, suffix: 3 });
  assert.throws(() => detectFim(named, { ...overrides, middle: "<X>" }), RangeError);
});

Deno.test("endTokenIds() holds end of text, infill and separator tokens, and no other", () => {
  const ids = endTokenIds(tiny, 0, fim.tokens);
  assert.deepEqual([...ids].sort((a, b) => a - b), Array.from({ length: 19 }, (_, id) => id));
  const bare = new Tokenizer(tinyTokenizerJson(["<eos>"]));
  assert.deepEqual([...endTokenIds(bare, 0, undefined)], [0]);
  assert.deepEqual([...endTokenIds(bare, 50256, undefined)], [], "an eos outside the vocabulary is nobody's");
});
