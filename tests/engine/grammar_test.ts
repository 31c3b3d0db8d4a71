// Completions held to a grammar by the real library: what comes out follows it, whatever is drawn.
import assert from "node:assert/strict";
import { unsupportedInSchema } from "../../engine/json_schema_support.ts";
import { Random, testSeed } from "../kernels/random.ts";
import { accepts, makePool, schema, walk } from "./followed_grammars.ts";

// deno-lint-ignore no-explicit-any -- JSON of any form
type Json = any;

/** Schemas of every keyword that is let through: what they must yield, texts that fit, and texts that do not. */
const SCHEMAS: readonly (readonly [unknown, (value: Json) => boolean, string[], string[]])[] = [
  [{ type: "boolean" }, (v) => typeof v === "boolean", ["true"], ["1", '"true"']],
  [{ type: ["integer", "null"] }, (v) => v === null || Number.isInteger(v), ["null", "-12"], ["1.5"]],
  [
    { type: "string", minLength: 2, maxLength: 3 },
    (v) => [...v].length >= 2 && [...v].length <= 3,
    ['"ab"', '"é🙂"'],
    ['"a"', '"abcd"', '"a\tb"'],
  ],
  [
    { type: "array", items: { type: "string", maxLength: 1 }, maxItems: 1 },
    (v) => v.every((x: Json) => [...x].length < 2),
    ['["a"]', '[""]'],
    ['["ab"]'],
  ],
  [{ type: "string", pattern: "^[a-f]{2}\\d$" }, (v) => /^[a-f]{2}\d$/.test(v), ['"ab1"'], ['"a1"']],
  [{ type: "string", format: "date" }, (v) => /^\d{4}-\d\d-\d\d$/.test(v), ['"2026-11-24"'], ['"today"']],
  [{ enum: ["é", 1.5, null, 'a"b'] }, (v) => ["é", 1.5, null, 'a"b'].includes(v), ['"é"', '"a\\"b"'], ["2"]],
  [{ type: "integer", const: 7 }, (v) => v === 7, ["7"], ["8"]],
  [
    { type: "array", items: { enum: [1, 2] }, minItems: 1, maxItems: 3 },
    (v) => v.length >= 1 && v.length <= 3 && v.every((x: Json) => x === 1 || x === 2),
    ["[1]", "[1, 2, 1]"],
    ["[]", "[1, 1, 1, 1]", "[3]"],
  ],
  [
    { type: "array", prefixItems: [{ type: "boolean" }, { type: "null" }], items: false },
    (v) => v.length <= 2 && typeof v[0] === "boolean" && (v.length < 2 || v[1] === null),
    ["[true, null]"],
    ["[null]", "[true, null, 1]"],
  ],
  [
    {
      title: "T",
      type: "object",
      properties: { a: { const: 1, description: "d" }, b: { type: "boolean" } },
      required: ["b"],
    },
    (v) =>
      typeof v.b === "boolean" && (v.a === undefined || v.a === 1) &&
      Object.keys(v).every((k) => "ab".includes(k)),
    ['{"a": 1, "b": true}', '{"b": false}'],
    ["{}", '{"a": 2, "b": true}', '{"b": true, "c": 1}'],
  ],
  [
    { type: "object", properties: { a: { const: 1 }, b: { const: 2 } }, minProperties: 1, maxProperties: 1 },
    (v) => Object.keys(v).length === 1,
    ['{"b": 2}'],
    ["{}", '{"a": 1, "b": 2}'],
  ],
  [
    { anyOf: [{ type: "null" }, { $ref: "#/$defs/n" }], $defs: { n: { allOf: [{ enum: ["x"] }] } } },
    (v) => v === null || v === "x",
    ["null", '"x"'],
    ['"y"'],
  ],
  [
    { type: "object", additionalProperties: { type: "boolean" } },
    (v) => Object.values(v).every((x) => x === true || x === false),
    [
      '{"any": true}',
      "{}",
    ],
    ['{"any": 1}'],
  ],
];

Deno.test("A JSON schema that is let through is kept to, whatever is drawn, and keeps nothing out that fits", async () => {
  const random = new Random(testSeed());
  for (const [value, fits, good, bad] of SCHEMAS) {
    assert.equal(unsupportedInSchema(value), undefined);
    using pool = makePool();
    for (let turn = 0; turn < 4; turn++) {
      const text = await walk(pool, schema(value), random);
      assert.ok(fits(JSON.parse(text)), `${JSON.stringify(value)}: ${text}`);
    }
    for (const text of good) {
      assert.ok(await accepts(pool, schema(value), text), `${JSON.stringify(value)}: ${text}`);
    }
    for (const text of bad) {
      assert.ok(!await accepts(pool, schema(value), text), `${JSON.stringify(value)}: ${text}`);
    }
  }
});

Deno.test("A regular expression is matched as a whole, and a grammar from its root", async () => {
  const random = new Random(testSeed());
  using pool = makePool();
  for (const pattern of ["[a-z]{3,6}\\d{2}", "(?:ab|é🙂){1,3}x?", "self\\.[a-z_]{1,9}\\(\\)"]) {
    for (let turn = 0; turn < 5; turn++) {
      const text = await walk(pool, { kind: "regex", pattern }, random);
      assert.match(text, new RegExp(`^(?:${pattern})$`, "u"));
    }
  }
  const ebnf = 'root ::= expr # a comment\nexpr ::= "(" expr ")" | item\nitem ::= [a-c] item?\n';
  for (let turn = 0; turn < 5; turn++) {
    assert.match(await walk(pool, { kind: "ebnf", text: ebnf }, random), /^\(*[a-c]+\)*$/);
  }
  assert.ok(await accepts(pool, { kind: "ebnf", text: ebnf }, "((abc))"));
  assert.ok(!await accepts(pool, { kind: "ebnf", text: ebnf }, "((abc)"));
});
