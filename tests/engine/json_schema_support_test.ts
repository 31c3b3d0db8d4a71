// Which JSON schemas, and which patterns in them, are let through.
import assert from "node:assert/strict";
import { unsupportedInSchema } from "../../engine/json_schema_support.ts";
import { isPlainPattern } from "../../engine/json_string_patterns.ts";

Deno.test("unsupportedInSchema() names what the library passes over or takes wrongly", () => {
  const cases: [unknown, RegExp][] = [
    [{ type: "integer", minimum: 3 }, /^the schema has "minimum", which is not supported$/],
    [{ type: "object", properties: { a: { not: {} } } }, /^the schema at "\/properties\/a" has "not", which/],
    [{ properties: {} }, /^the schema has "properties" without a "type": it needs "type": "object"$/],
    [{ type: "string", items: {} }, /^the schema has "items" with type "string", which is not supported$/],
    [{ type: "array", items: { type: "string" }, uniqueItems: true }, /"uniqueItems"/],
    [
      { type: "object", properties: { a: true }, additionalProperties: true },
      /"additionalProperties" beside/,
    ],
    [{ type: "object", required: ["b"] }, /requires "b"/],
    [{ type: "object", properties: { 'a"b': true } }, /quotes and backslashes/],
    [{ oneOf: [{ type: "null" }] }, /^the schema has "oneOf", which is not supported$/],
    [{ allOf: [{}, {}] }, /"allOf" with other than one/],
    [{ anyOf: [{ type: "null" }], type: "null" }, /^the schema has "type" beside "anyOf"/],
    [{ $ref: "https://example.org/x" }, /"\$ref"/],
    [{ type: "integer", enum: ["a"] }, /allows "a", which is not of its type/],
    [{ type: "string", pattern: "a", minLength: 1 }, /more than one of/],
    [{ type: "string", format: "email" }, /the "format" "email", supported are date/],
    [{ type: "string", maxLength: -1 }, /a length of -1/],
    [{ type: "string", pattern: "^.*$" }, /"pattern" that could match quotes/],
    [{ type: "text" }, /has the type "text"/],
    [{ type: "constructor" }, /has the type "constructor"/],
    [{ type: "toString", minimum: 1 }, /"minimum"/],
    [{ type: "array", prefixItems: 5 }, /^the schema must have an array of schemas in "prefixItems"$/],
    [{ type: "object", properties: null }, /^the schema must have an object of schemas in "properties"$/],
    [{ type: "array", items: false }, /^the schema at "\/items" is false/],
    [{ $defs: { x: { if: {} } }, type: "null" }, /^the schema at "\/\$defs\/x" has "if", which/],
    [false, /^the schema is false/],
    [3, /must be an object/],
    [JSON.parse(`${'{"anyOf":['.repeat(80)}true${"]}".repeat(80)}`), /nested more than 64 deep/],
  ];
  for (const [value, message] of cases) assert.match(unsupportedInSchema(value) ?? "", message);
});

Deno.test("unsupportedInSchema() repeats the beginning of names and values, and the end of a path", () => {
  const long = "🙂".repeat(5000);
  const faults = [
    { [long]: 1 },
    { type: long },
    { const: long, type: "null" },
    { type: "string", format: long },
    { type: "object", required: [long] },
    { type: "object", properties: { [`"${long}`]: true } },
    { type: "object", properties: { [long]: { type: "array", items: false } } },
  ].map((schema) => unsupportedInSchema(schema)!);
  for (const fault of faults) assert.ok(fault.length < 300 && fault.isWellFormed(), fault);
  assert.match(faults.at(-1)!, /^the schema at "…🙂+\/items" is false/u);
});

Deno.test("isPlainPattern() lets through what needs no escape in JSON, and nothing else", () => {
  for (const pattern of ["^[a-z_]+\\.\\d{2}$", "a|b", "[A-Za-z0-9 ]*", "(?:x\\-y)?", "é🙂", "[_-]"]) {
    assert.ok(isPlainPattern(pattern), pattern);
  }
  const others = [
    ".",
    "[^a]",
    "\\s",
    "\\W",
    "\\n",
    "\\x22",
    "\\\\",
    '"',
    "[ -~]",
    "[!-z]",
    "a\tb",
    "[a-\\x7f]",
    "\\",
  ];
  for (const pattern of others) assert.ok(!isPlainPattern(pattern), pattern);
});
