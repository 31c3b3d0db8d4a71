// The request fields by which a client holds a completion to a grammar: OpenAI's, vLLM's and llama.cpp's, and their way
// into the engine's words.
import { z } from "@hono/zod-openapi";
import type { Grammar, GrammarText } from "../engine/grammar.ts";
import { beginningOf } from "../engine/shown_text.ts";
import { HttpProblem } from "./http_problem.ts";
import { fieldName } from "./json_body.ts";

const ANY_OBJECT = { type: "object", additionalProperties: true };

/** An object, true, or the same as JSON text. */
const jsonSchema = z.union([z.record(z.string(), z.unknown()), z.boolean(), z.string()], {
  error: (issue) =>
    `"${fieldName(issue.path ?? [])}" must be a JSON schema (an object or true), or one as JSON text`,
});
const choices = z.array(z.string().min(1)).min(1).max(1000);
const FOLLOWED =
  "The completion follows it from its first character to its end; no prompt is healed then, and " +
  "`--clean` of the server does not apply.";
const OBJECTS =
  "Objects have the properties listed, in that order, and no others; a schema with keywords that cannot " +
  "be kept to is refused.";

const responseFormat = z.object({
  type: z.enum(["text", "json_object", "json_schema"]).describe("`text`: no grammar."),
  json_schema: z.looseObject({ schema: jsonSchema.optional() }).nullish().describe(
    "With `json_schema`: an object whose `schema` is one; `name` and `strict` are ignored.",
  ),
  schema: jsonSchema.nullish().describe(
    "With `json_object`, as llama.cpp has it: objects of this schema only.",
  ),
}).openapi("ResponseFormat");

const outputs = {
  regex: z.string().nullish().describe("As `guided_regex`."),
  json: jsonSchema.nullish().describe("As `guided_json`."),
  json_object: z.boolean().nullish().describe("true: any JSON object."),
  grammar: z.string().nullish().describe("As `guided_grammar`."),
  choice: choices.nullish().describe("As `guided_choice`."),
};
const OUTPUT_NAMES = Object.keys(outputs).map((name) => `"${name}"`).join(", ");

/** Strict: what vLLM has beyond these changes the text, and must not be passed over. */
const structuredOutputs = z.strictObject(outputs, {
  error: (issue) =>
    issue.code === "unrecognized_keys"
      ? `"structured_outputs" must have one of ${OUTPUT_NAMES}, received "${beginningOf(issue.keys[0]!, 60)}"`
      : undefined,
}).refine(
  ({ json_object, ...others }) => json_object || Object.values(others).some((value) => value != null),
  `"structured_outputs" must have one of ${OUTPUT_NAMES}, received none that asks for anything`,
).openapi("StructuredOutputs");

/**
 * To be spread into a request's schema. All in every dialect: whoever asks for JSON by another dialect's field and gets
 * free text has no way to know why.
 */
export const grammarFields = {
  response_format: responseFormat.optional().describe(
    `As OpenAI's chat has it: any JSON object, or one of a JSON schema. ${FOLLOWED} ${OBJECTS}`,
  ),
  guided_json: jsonSchema.optional().describe("vLLM's: a JSON schema, as an object or as text."),
  guided_regex: z.string().optional().describe(
    "vLLM's: a regular expression, matched as a whole; without lookaround, backreferences, word boundaries and `\\p`.",
  ),
  guided_choice: choices.optional().describe("vLLM's: one of these texts."),
  guided_grammar: z.string().optional().describe(
    "vLLM's: a grammar in XGrammar's EBNF, from its rule `root`.",
  ),
  structured_outputs: structuredOutputs.optional().describe(
    "vLLM's newer form of the four: `json`, `regex`, `choice` or `grammar`, and `json_object`.",
  ),
  json_schema: jsonSchema.optional().describe(`llama.cpp's: a JSON schema. ${FOLLOWED} ${OBJECTS}`),
  grammar: z.string().optional().describe(
    `llama.cpp's: a grammar in GBNF, as far as XGrammar's EBNF goes, from its rule \`root\`. ${FOLLOWED} Empty: none.`,
  ),
};

export type GrammarFields = Partial<z.output<z.ZodObject<typeof grammarFields>>>;

/**
 * Undefined when none of the fields asks for one.
 * @throws {HttpProblem} two of them do, or one holds no JSON
 */
export function toGrammar(fields: GrammarFields): Grammar | undefined {
  const [first, second] = grammars(fields);
  if (!second) return first;
  throw new HttpProblem(
    "invalid",
    `"${first!.field}" and "${second.field}" cannot be combined: a completion follows one grammar`,
    { param: second.field, code: "invalid_value" },
  );
}

function grammars(fields: GrammarFields): Grammar[] {
  const { response_format: format, structured_outputs: outputs = {} } = fields;
  const schema = (
    field: string,
    value: unknown,
  ) => ({ kind: "jsonSchema", schema: schemaText(field, value) } as const);
  const found: [string, unknown, (value: never, field: string) => GrammarText][] = [
    ["response_format", wantedSchema(format), (value, field) => schema(field, value)],
    ["guided_json", fields.guided_json, (value, field) => schema(field, value)],
    ["guided_regex", fields.guided_regex, (pattern) => ({ kind: "regex", pattern })],
    ["guided_choice", fields.guided_choice, choiceGrammar],
    ["guided_grammar", fields.guided_grammar, (text) => ({ kind: "ebnf", text })],
    ["structured_outputs.json", outputs.json, (value, field) => schema(field, value)],
    [
      "structured_outputs.json_object",
      outputs.json_object || undefined,
      (_, field) => schema(field, ANY_OBJECT),
    ],
    ["structured_outputs.regex", outputs.regex, (pattern) => ({ kind: "regex", pattern })],
    ["structured_outputs.choice", outputs.choice, choiceGrammar],
    ["structured_outputs.grammar", outputs.grammar, (text) => ({ kind: "ebnf", text })],
    ["json_schema", fields.json_schema, (value, field) => schema(field, value)],
    ["grammar", fields.grammar || undefined, (text) => ({ kind: "ebnf", text })],
  ];
  return found.filter(([, value]) => value !== undefined && value !== null)
    .map(([field, value, make]) => ({ field, ...make(value as never, field) }));
}

function wantedSchema(format: GrammarFields["response_format"]): unknown {
  if (!format || format.type === "text") return undefined;
  if (format.type === "json_object") return format.schema ?? ANY_OBJECT;
  if (format.json_schema?.schema !== undefined) return format.json_schema.schema;
  throw new HttpProblem("invalid", '"response_format.json_schema" must have a "schema"', {
    param: "response_format",
    code: "invalid_value",
  });
}

function schemaText(field: string, schema: unknown): string {
  if (typeof schema !== "string") return JSON.stringify(schema);
  try {
    return JSON.stringify(JSON.parse(schema));
  } catch {
    throw new HttpProblem("invalid", `"${field}" must be a JSON schema, received text that is no JSON`, {
      param: field,
      code: "invalid_value",
    });
  }
}

function choiceGrammar(texts: readonly string[]): GrammarText {
  return { kind: "ebnf", text: `root ::= ${texts.map((text) => JSON.stringify(text)).join(" | ")}` };
}
