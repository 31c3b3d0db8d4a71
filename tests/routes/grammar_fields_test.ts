import assert from "node:assert/strict";
import { EngineUnavailableError, InvalidRequestError } from "../../engine/errors.ts";
import { toGrammar } from "../../routes/grammar_fields.ts";
import { FakeEngine } from "./fake_engine.ts";
import { openApp, post } from "./requests.ts";

const ANY_OBJECT = '{"type":"object","additionalProperties":true}';

Deno.test("toGrammar() knows OpenAI's, vLLM's and llama.cpp's fields", () => {
  const schema = { type: "null" };
  const cases: [Parameters<typeof toGrammar>[0], object | undefined][] = [
    [{}, undefined],
    [{ response_format: { type: "text" } }, undefined],
    [{ grammar: "" }, undefined],
    [{ response_format: { type: "json_object" } }, {
      field: "response_format",
      kind: "jsonSchema",
      schema: ANY_OBJECT,
    }],
    [{ response_format: { type: "json_object", schema } }, {
      field: "response_format",
      kind: "jsonSchema",
      schema: '{"type":"null"}',
    }],
    [{ response_format: { type: "json_schema", json_schema: { name: "n", strict: true, schema } } }, {
      field: "response_format",
      kind: "jsonSchema",
      schema: '{"type":"null"}',
    }],
    [{ guided_json: ' {"type": "null"}' }, {
      field: "guided_json",
      kind: "jsonSchema",
      schema: '{"type":"null"}',
    }],
    [{ guided_regex: "a+" }, { field: "guided_regex", kind: "regex", pattern: "a+" }],
    [{ guided_choice: ["a", 'b"'] }, { field: "guided_choice", kind: "ebnf", text: 'root ::= "a" | "b\\""' }],
    [{ guided_grammar: "root ::= x" }, { field: "guided_grammar", kind: "ebnf", text: "root ::= x" }],
    [{ structured_outputs: { regex: "a" } }, {
      field: "structured_outputs.regex",
      kind: "regex",
      pattern: "a",
    }],
    [{ structured_outputs: { json_object: true } }, {
      field: "structured_outputs.json_object",
      kind: "jsonSchema",
      schema: ANY_OBJECT,
    }],
    [{ json_schema: schema }, { field: "json_schema", kind: "jsonSchema", schema: '{"type":"null"}' }],
    [{ grammar: "root ::= y" }, { field: "grammar", kind: "ebnf", text: "root ::= y" }],
  ];
  for (const [fields, grammar] of cases) assert.deepEqual(toGrammar(fields), grammar, JSON.stringify(fields));
});

Deno.test("toGrammar() refuses two grammars, text that is no JSON, and a format without its schema", () => {
  assert.throws(
    () => toGrammar({ guided_regex: "a", guided_grammar: "root ::= x" }),
    /"guided_regex" and "guided_grammar"/,
  );
  assert.throws(() => toGrammar({ guided_json: "{" }), /"guided_json" must be a JSON schema/);
  assert.throws(() => toGrammar({ response_format: { type: "json_schema" } }), /must have a "schema"/);
});

Deno.test("Grammars reach the engine from both dialects; what is wrong with one is a 400 that names the field", async () => {
  const engine = new FakeEngine({});
  const app = openApp(engine);
  const body = { input_prefix: "a", input_suffix: "" };
  await post(app, "/v1/completions", { prompt: "a", structured_outputs: { regex: "b", json: null } });
  await post(app, "/infill", { ...body, grammar: "root ::= x" });
  await post(app, "/infill", { ...body, json_schema: {} });
  // Each dialect takes the others' fields: free text instead would be no answer.
  await post(app, "/v1/completions", { prompt: "a", json_schema: {} });
  await post(app, "/v1/completions", { prompt: "a", grammar: "root ::= x" });
  await post(app, "/infill", { ...body, guided_regex: "b" });
  await post(app, "/infill", {
    ...body,
    response_format: { type: "json_schema", json_schema: { schema: {} } },
  });
  // In a schema null is a value.
  await post(app, "/v1/completions", { prompt: "a", guided_json: { const: null } });
  await post(app, "/infill", { ...body, json_schema: { enum: [null], default: null } });
  assert.deepEqual(engine.requests.map(({ grammar }) => grammar), [
    { field: "structured_outputs.regex", kind: "regex", pattern: "b" },
    { field: "grammar", kind: "ebnf", text: "root ::= x" },
    { field: "json_schema", kind: "jsonSchema", schema: "{}" },
    { field: "json_schema", kind: "jsonSchema", schema: "{}" },
    { field: "grammar", kind: "ebnf", text: "root ::= x" },
    { field: "guided_regex", kind: "regex", pattern: "b" },
    { field: "response_format", kind: "jsonSchema", schema: "{}" },
    { field: "guided_json", kind: "jsonSchema", schema: '{"const":null}' },
    { field: "json_schema", kind: "jsonSchema", schema: '{"enum":[null],"default":null}' },
  ]);
  const wrong = [
    ["/v1/completions", { prompt: "a", guided_regex: "b", guided_choice: ["c"] }, "guided_choice"],
    ["/v1/completions", { prompt: "a", guided_regex: 3 }, "guided_regex"],
    [
      "/v1/completions",
      { prompt: "a", stream: true, response_format: { type: "json_schema" } },
      "response_format",
    ],
    ["/v1/completions", { prompt: "a", response_format: { type: "yaml" } }, "response_format.type"],
    ["/v1/completions", { prompt: "a", structured_outputs: { structural_tag: "x" } }, "structured_outputs"],
    ["/infill", { ...body, json_schema: "{" }, "json_schema"],
  ] as const;
  for (const [path, sent, param] of wrong) {
    const { status, json } = await post(app, path, sent);
    assert.deepEqual([status, json.error.param], [400, param]);
  }
  const failure = {
    at: 0,
    error: new InvalidRequestError("m", { field: "structured_outputs.regex", reason: "invalid_value" }),
  };
  const missing = new EngineUnavailableError(
    "m",
    "no_grammar_library",
    undefined,
    "structured_outputs.regex",
  );
  for (const [path, sent] of [["/v1/completions", { prompt: "a" }], ["/infill", body]] as const) {
    const app = openApp(new FakeEngine({ failure: { at: 1, error: missing } }));
    const { status, json, headers } = await post(app, path, sent);
    assert.deepEqual([status, json.error.param], [501, "structured_outputs"]);
    assert.equal(json.error.code, path === "/infill" ? 501 : "no_grammar_library");
    assert.equal(headers.get("retry-after"), null, "time mends nothing");
  }
  const failed = await post(openApp(new FakeEngine({ failure })), "/v1/completions", {
    prompt: "a",
    stream: true,
  });
  assert.deepEqual([failed.status, failed.json.error.param], [400, "structured_outputs"]);
});
