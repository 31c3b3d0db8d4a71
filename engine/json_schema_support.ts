// What of JSON Schema is followed to the letter. XGrammar 0.1.27 passes over keywords that it does not know and takes some
// others wrongly, so a schema is let through only if every keyword in it is among those that were tried and found right
// (tests/engine/grammar_test.ts). Objects have the properties listed, in that order, and no others. Pure.
import { isPlainPattern } from "./json_string_patterns.ts";
import { beginningOf, endOf } from "./shown_text.ts";

/** Say something to people, and nothing about the value. */
const ANNOTATIONS = new Set(
  "title description default examples $schema $id $comment deprecated readOnly writeOnly $defs definitions"
    .split(" "),
);
/** By type, what may stand beside it. */
const KEYWORDS: Readonly<Record<string, readonly string[]>> = {
  string: ["minLength", "maxLength", "pattern", "format"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  object: ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
  integer: [],
  number: [],
  boolean: [],
  null: [],
};
const FORMATS = ["date", "time", "date-time", "uuid", "ipv4"];
/** Each stands alone: its neighbours would be passed over. */
const ALONE = ["$ref", "anyOf", "allOf", "enum", "const"];
/** Deeper ones are no schemas that a person has written. */
const MAX_DEPTH = 64;
/** Characters of what the schema has itself, in what is said of it. */
const MAX_SHOWN = 80;

type Schema = Readonly<Record<string, unknown>>;

/** What of the schema cannot be followed, and where it stands; undefined when all can. */
export function unsupportedInSchema(schema: unknown): string | undefined {
  return check(schema, "", 0);
}

function shown(value: unknown): string {
  return beginningOf(JSON.stringify(value), MAX_SHOWN);
}

/** @param pointer to the schema within the whole, as a JSON pointer has it */
function check(schema: unknown, pointer: string, depth: number): string | undefined {
  const path = pointer === "" ? "the schema" : `the schema at "${endOf(pointer, MAX_SHOWN)}"`;
  if (schema === true) return undefined;
  if (schema === false) return `${path} is false, which no value fits`;
  if (!isObject(schema)) return `${path} must be an object or true`;
  if (depth > MAX_DEPTH) return `${path} is nested more than ${MAX_DEPTH} deep`;
  const definitions = ["$defs", "definitions"].flatMap((name) =>
    isObject(schema[name])
      ? Object.entries(schema[name]).map(([key, one]) => [`${name}/${key}`, one] as const)
      : []
  );
  return checkKeywords(schema, path) ??
    firstOf(
      [...definitions, ...partsOf(schema)],
      ([name, part]) => check(part, `${pointer}/${name}`, depth + 1),
    );
}

/** The schemas within a schema, by the names they have there. */
function partsOf({ anyOf, allOf, items, prefixItems, properties, additionalProperties }: Schema) {
  const list = (name: string, value: unknown) =>
    Array.isArray(value) ? value.map((one, i) => [`${name}/${i}`, one] as const) : [];
  return [
    ...list("anyOf", anyOf),
    ...list("allOf", allOf),
    ...list("prefixItems", prefixItems),
    ...(items === undefined || (items === false && prefixItems) ? [] : [["items", items] as const]),
    ...(isObject(properties)
      ? Object.entries(properties).map(([key, one]) => [`properties/${key}`, one] as const)
      : []),
    ...(isObject(additionalProperties) ? [["additionalProperties", additionalProperties] as const] : []),
  ];
}

function checkKeywords(schema: Schema, path: string): string | undefined {
  const keywords = Object.keys(schema).filter((name) => !ANNOTATIONS.has(name));
  const alone = ALONE.find((name) => keywords.includes(name));
  const { type } = schema;
  const isValueList = alone === "enum" || alone === "const";
  const beside = alone === undefined
    ? ["type", ...typeof type === "string" && Object.hasOwn(KEYWORDS, type) ? KEYWORDS[type] : []]
    : [alone, ...isValueList ? ["type"] : []];
  const extra = keywords.find((name) => !beside.includes(name));
  if (extra !== undefined) {
    const owner = Object.keys(KEYWORDS).find((one) => KEYWORDS[one].includes(extra));
    if (!alone && type === undefined && owner) {
      return `${path} has "${beginningOf(extra, MAX_SHOWN)}" without a "type": it needs "type": "${owner}"`;
    }
    const where = alone ? ` beside "${alone}"` : owner ? ` with type ${shown(type)}` : "";
    return `${path} has "${beginningOf(extra, MAX_SHOWN)}"${where}, which is not supported`;
  }
  return checkType(type, path) ?? (alone ? checkAlone(schema, alone, path) : undefined) ??
    (alone
      ? undefined
      : type === "string"
      ? checkString(schema, path)
      : type === "object"
      ? checkObject(schema, path)
      : type === "array" && schema.prefixItems !== undefined && !Array.isArray(schema.prefixItems)
      ? `${path} must have an array of schemas in "prefixItems"`
      : undefined);
}

function checkType(type: unknown, path: string): string | undefined {
  const types = Array.isArray(type) ? type : type === undefined ? [] : [type];
  const unknown = types.find((one) => typeof one !== "string" || !Object.hasOwn(KEYWORDS, one));
  return unknown === undefined ? undefined : `${path} has the type ${shown(unknown)}, which there is not`;
}

function checkAlone(schema: Schema, name: string, path: string): string | undefined {
  const value = schema[name];
  switch (name) {
    case "$ref":
      if (typeof value === "string" && /^#(\/|$)/.test(value)) return undefined;
      return `${path} has a "$ref" that does not begin with "#/"`;
    case "allOf":
      if (Array.isArray(value) && value.length === 1) return undefined;
      return `${path} has "allOf" with other than one schema, which is not supported`;
    case "anyOf":
      return Array.isArray(value) && value.length > 0 ? undefined : `${path} must have schemas in "anyOf"`;
    default: {
      const values = name === "const" ? [value] : value;
      if (!Array.isArray(values) || values.length === 0) return `${path} must have values in "enum"`;
      const wrong = values.find((one) => schema.type !== undefined && !fits(one, schema.type));
      return wrong === undefined ? undefined : `${path} allows ${shown(wrong)}, which is not of its type`;
    }
  }
}

function checkString({ pattern, format, minLength, maxLength }: Schema, path: string): string | undefined {
  const ways = [pattern, format, minLength ?? maxLength].filter((way) => way !== undefined);
  if (ways.length > 1) {
    return `${path} has more than one of "pattern", "format" and lengths, which is not supported`;
  }
  const length = [minLength, maxLength].find((one) => one !== undefined && !isLength(one));
  if (length !== undefined) return `${path} has a length of ${shown(length)}`;
  if (format !== undefined && !FORMATS.includes(String(format))) {
    return `${path} has the "format" ${shown(format)}, supported are ${FORMATS.join(", ")}`;
  }
  if (pattern === undefined || (typeof pattern === "string" && isPlainPattern(pattern))) return undefined;
  return `${path} has a "pattern" that could match quotes, backslashes or control characters (".", "[^…]", "\\s" and the ` +
    "like), which is not supported";
}

function isLength(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function checkObject(
  { properties, required, additionalProperties }: Schema,
  path: string,
): string | undefined {
  if (properties !== undefined && !isObject(properties)) {
    return `${path} must have an object of schemas in "properties"`;
  }
  const names = Object.keys(properties ?? {});
  const odd = names.find((name) => JSON.stringify(name) !== `"${name}"`);
  if (odd !== undefined) {
    return `${path} has the property ${shown(odd)}: quotes and backslashes are not supported`;
  }
  if (names.length > 0 && additionalProperties !== undefined && additionalProperties !== false) {
    return `${path} has "additionalProperties" beside "properties", which is not supported`;
  }
  const missing = (Array.isArray(required) ? required : []).find((name) => !names.includes(name));
  return missing === undefined
    ? undefined
    : `${path} requires ${shown(missing)}, which is not in "properties"`;
}

function fits(value: unknown, types: unknown): boolean {
  const is: Readonly<Record<string, boolean>> = {
    string: typeof value === "string",
    integer: Number.isInteger(value),
    number: typeof value === "number",
    boolean: typeof value === "boolean",
    null: value === null,
    array: Array.isArray(value),
    object: isObject(value),
  };
  return [types].flat().some((type) => is[String(type)]);
}

function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function firstOf<T>(items: readonly T[], find: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
}
