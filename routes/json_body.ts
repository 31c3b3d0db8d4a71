// From a request's bytes to a checked object, with errors that name the field and what it must be. Rules that hold in
// every dialect live here: null means absent, unknown fields are ignored, lists are bounded.
import type { Context } from "hono";
import { z } from "@hono/zod-openapi";
import { HttpProblem } from "./http_problem.ts";
import { parseJsonText } from "./json_text.ts";
import { beginningOf } from "../engine/shown_text.ts";

/**
 * Most items in any list or map of a request, its texts as token ids excepted. A schema reports every wrong item, so an
 * unbounded list would let a small body cost gigabytes of error reports.
 */
const MAX_ITEMS = 4096;
/** The same, of all of them together: 4096 files with a name and a text have 12,288. */
const MAX_ALL_ITEMS = 16_384;
/** Checked item by item by a check of our own, which reports once. */
const LONG_LISTS: ReadonlySet<string> = new Set(["prompt", "tokens", "content", "context"]);
/** JSON schemas, in which null is a value. */
const SCHEMAS: ReadonlySet<string> = new Set(["guided_json", "json_schema", "format"]);
/** Levels of a body that schemas look into. */
const MAX_BOUNDED_DEPTH = 4;

type JsonObject = Record<string, unknown>;
type Issue = z.core.$ZodRawIssue;

export interface BodyLimits {
  /** Largest request body, bytes. */
  readonly bodyLimitBytes: number;
  /** Most time that a body may take to arrive, milliseconds. */
  readonly bodyTimeoutMs: number;
}

/**
 * Reads and validates the body.
 * @throws {HttpProblem} as `readObject` and `checkObject`
 */
export async function readJson<S extends z.ZodType>(
  c: Context,
  schema: S,
  limits: BodyLimits,
): Promise<z.output<S>> {
  return checkObject(await readObject(c, limits), schema);
}

/**
 * The body's fields, those that are null left out.
 * @throws {HttpProblem} too large, too slow, not JSON, not an object
 */
export async function readObject(
  c: Context,
  { bodyLimitBytes, bodyTimeoutMs }: BodyLimits,
): Promise<JsonObject> {
  requireJsonContentType(c.req.header("content-type"));
  requireSize(Number(c.req.header("content-length") ?? 0), bodyLimitBytes);
  const chunks = inTime(c.req.raw.body, bodyTimeoutMs);
  const body = parseObject(await decodeText(await readBytes(chunks, bodyLimitBytes)));
  return withoutNulls(body);
}

/** @throws {HttpProblem} a list that is too long, or the first field that the schema rejects */
export function checkObject<S extends z.ZodType>(body: JsonObject, schema: S): z.output<S> {
  requireBoundedLists(body);
  const result = schema.safeParse(body, { reportInput: true, error: describeIssue });
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new HttpProblem("invalid", messageOf(issue), { param: fieldName(issue.path) || undefined });
}

/** A union's own message says what it takes, and not what came. */
function messageOf({ code, message, input }: z.core.$ZodIssue): string {
  return code === "invalid_union" ? `${message}, received ${describeValue(input)}` : message;
}

function requireSize(sizeBytes: number, limitBytes: number): void {
  if (sizeBytes <= limitBytes) return;
  const message =
    `The request body must be at most ${limitBytes} bytes; the server takes larger ones with --max-body`;
  throw new HttpProblem("tooLarge", message, { code: "request_too_large" });
}

/** Reads no further than the limit. Reading itself fails only when the client leaves before its body has come. */
async function readBytes(
  body: AsyncIterable<Uint8Array>,
  limitBytes: number,
): Promise<Uint8Array<ArrayBuffer>[]> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let sizeBytes = 0;
  try {
    for await (const chunk of body) {
      requireSize(sizeBytes += chunk.length, limitBytes);
      chunks.push(new Uint8Array(chunk));
    }
  } catch (error) {
    if (error instanceof HttpProblem) throw error;
    throw new HttpProblem("cancelled", "The request ended before its body did");
  }
  return chunks;
}

/** Replacing what is no UTF-8 would complete another text than the client has. */
async function decodeText(chunks: readonly Uint8Array<ArrayBuffer>[]): Promise<string> {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await new Blob([...chunks]).arrayBuffer());
  } catch {
    throw new HttpProblem("invalid", "The body must be JSON in UTF-8, received bytes that are none");
  }
}

/** The body's chunks; a client that takes longer for them than it may is cut off. */
async function* inTime(
  body: ReadableStream<Uint8Array> | null,
  timeoutMs: number,
): AsyncGenerator<Uint8Array> {
  if (!body) return;
  const reader = body.getReader();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    reader.cancel().catch(() => {}); // It ends the read below.
  }, timeoutMs);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (late) throw bodyTimeout(timeoutMs);
      if (done) return;
      yield value;
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
}

function bodyTimeout(timeoutMs: number): HttpProblem {
  return new HttpProblem("bodyTimeout", `The request body must arrive within ${timeoutMs / 1000} s`, {
    code: "body_timeout",
  });
}

function requireJsonContentType(contentType: string | undefined): void {
  if (contentType === undefined || /^application\/([\w.+-]+\+)?json\b/i.test(contentType)) return;
  throw new HttpProblem(
    "mediaType",
    `Content-Type must be application/json, received ${beginningOf(contentType, 80)}`,
    { code: "unsupported_media_type" },
  );
}

function parseObject(text: string): JsonObject {
  const body = parseJson(text);
  if (isObject(body)) return body;
  throw new HttpProblem("invalid", `The body must be a JSON object, received ${describeValue(body)}`);
}

function parseJson(text: string): unknown {
  if (text === "") throw new HttpProblem("invalid", "The body must be a JSON object, received nothing");
  try {
    return parseJsonText(text);
  } catch (error) {
    throw new HttpProblem(
      "invalid",
      `The body must be valid JSON: ${(error as SyntaxError).message.toWellFormed()}`,
    );
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * @param before items of the lists before
 * @returns the same, with those of the lists in `value`
 */
function requireBoundedLists(value: object, path: readonly PropertyKey[] = [], before = 0): number {
  let all = before;
  for (const [key, inner] of Object.entries(value)) {
    if (typeof inner !== "object" || inner === null || (path.length === 0 && LONG_LISTS.has(key))) continue;
    const innerPath = [...path, Array.isArray(value) ? Number(key) : key];
    const count = Array.isArray(inner) ? inner.length : Object.keys(inner).length;
    const refuse = (fault: string): never => {
      const name = fieldName(innerPath);
      throw new HttpProblem("invalid", `"${name}" ${fault}`, { param: name });
    };
    if (count > MAX_ITEMS) refuse(`must have at most ${MAX_ITEMS} items, received ${count}`);
    all += count;
    if (all > MAX_ALL_ITEMS) {
      refuse(`and what is before it must have at most ${MAX_ALL_ITEMS} items together`);
    }
    if (innerPath.length < MAX_BOUNDED_DEPTH) all = requireBoundedLists(inner, innerPath, all);
  }
  return all;
}

/** Drops null fields, also those of objects one level down (`stream_options`, `logit_bias`); lists stay as they are. */
function withoutNulls(body: JsonObject, depth = 1): JsonObject {
  const fields = Object.entries(body).filter(([, value]) => value !== null);
  if (depth === 0) return Object.fromEntries(fields);
  const within = (name: string, value: unknown) => isObject(value) && !SCHEMAS.has(name);
  return Object.fromEntries(
    fields.map(([name, value]) => [
      name,
      within(name, value) ? withoutNulls(value as JsonObject, depth - 1) : value,
    ]),
  );
}

/** The message for an issue of the schema, unless the schema brings its own. */
function describeIssue(issue: Issue): string {
  const field = fieldName(issue.path ?? []);
  if (issue.input === undefined && issue.code === "invalid_type") return `"${field}" is required`;
  if (issue.input === undefined) return `"${field}" is required, and must be ${expectation(issue)}`;
  return `"${field}" must be ${expectation(issue)}, received ${describeValue(issue.input)}`;
}

function expectation(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return EXPECTED_TYPES[issue.expected] ?? `of type ${issue.expected}`;
    case "too_small":
      return size(issue.inclusive === false ? "more than" : "at least", issue.minimum, issue.origin);
    case "too_big":
      return size(issue.inclusive === false ? "less than" : "at most", issue.maximum, issue.origin);
    case "invalid_value":
      return `one of ${issue.values.map((value) => JSON.stringify(value)).join(", ")}`;
    default:
      return issue.message ?? "valid";
  }
}

const EXPECTED_TYPES: Readonly<Record<string, string>> = {
  string: "a string",
  number: "a number",
  int: "an integer",
  boolean: "true or false",
  array: "an array",
  object: "an object",
  record: "an object",
};

function size(bound: string, count: number | bigint, origin: string): string {
  if (origin === "array") return `an array of ${bound} ${count} ${count === 1 ? "item" : "items"}`;
  if (origin === "string") return `${bound} ${count} ${count === 1 ? "character" : "characters"} long`;
  return `${bound} ${count}`;
}

/** Characters of a name that is the client's own, as the keys of `logit_bias` are. */
const MAX_NAME = 60;

/** `stop[1]`, `stream_options.include_usage`. */
export function fieldName(path: readonly PropertyKey[]): string {
  const parts = path.map((part, i) =>
    typeof part === "number" ? `[${part}]` : `${i ? "." : ""}${beginningOf(String(part), MAX_NAME)}`
  );
  return parts.join("");
}

/** A value in few words: never more than a line, never walked to its depth. */
export function describeValue(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  if (typeof value === "object") return "an object";
  const text = typeof value === "number" ? String(value) : JSON.stringify(value) ?? String(value);
  return beginningOf(text, 60);
}
