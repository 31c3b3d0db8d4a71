// API keys as they are configured: one a person or program, with a name that logs may show and the limits it has. Reads
// the file they are kept in; knows nothing of how they are checked.

export interface KeyLimitSettings {
  /** Most requests at once. Undefined: as many as there are. */
  readonly concurrency?: number;
  /** Prompt and completion tokens a minute, on average. Undefined: without a limit. */
  readonly tokensPerMinute?: number;
}

export interface ApiKey extends KeyLimitSettings {
  readonly key: string;
  /** Stands for the key wherever the key itself must not be seen. */
  readonly name: string;
}

/** Keys that have nothing but themselves, named by their place: "key-1", "key-2", ... */
export function bareKeys(keys: readonly string[]): ApiKey[] {
  return keys.map((key, index) => ({ key, name: `key-${index + 1}` }));
}

/**
 * Reads a file of keys: one a line, then what is said of it; `#` begins a comment.
 *
 *     sk-2f9c…   name=alice concurrency=4 tokens_per_minute=60000
 *
 * A key without a name is named by its line: "line-3".
 * @throws {SyntaxError} naming the line and what it must be; never showing a key
 */
export function parseApiKeys(text: string): ApiKey[] {
  const lines = text.split(/\r?\n/).map((line) => line.replace(/(^|\s)#.*$/, "").trim());
  const keys = lines.flatMap((line, index) => line === "" ? [] : [parseLine(line, index + 1)]);
  requireDistinct(keys.map(({ name }) => name), "name");
  requireDistinct(keys.map(({ key }) => key), "key");
  return keys;
}

function parseLine(line: string, number: number): ApiKey {
  const [key = "", ...settings] = line.split(/\s+/);
  const said = new Map<string, string>();
  for (const setting of settings) {
    const [field = "", value = ""] = setting.split(/=(.*)/s, 2);
    if (!FIELDS.includes(field)) throw wrongField(number, field);
    if (said.has(field)) throw wrong(number, `"${field}" must be given once`);
    said.set(field, value);
  }
  const concurrency = limit(said.get("concurrency"), "concurrency", number);
  const tokensPerMinute = limit(said.get("tokens_per_minute"), "tokens_per_minute", number);
  return {
    key,
    name: nameOf(said.get("name"), number),
    ...(concurrency !== undefined && { concurrency }),
    ...(tokensPerMinute !== undefined && { tokensPerMinute }),
  };
}

const FIELDS: readonly string[] = ["name", "concurrency", "tokens_per_minute"];

function nameOf(value: string | undefined, line: number): string {
  if (value === undefined) return `line-${line}`;
  if (/^[\w.@-]{1,64}$/.test(value)) return value;
  throw wrong(line, '"name" must be 1 to 64 letters, digits and any of . _ @ -');
}

function limit(value: string | undefined, field: string, line: number): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (Number.isSafeInteger(number) && number >= 1) return number;
  throw wrong(line, `"${field}" must be a whole number above 0, received "${value}"`);
}

function requireDistinct(values: readonly string[], what: "name" | "key"): void {
  const twice = values.find((value, index) => values.indexOf(value) !== index);
  if (twice === undefined) return;
  throw new SyntaxError(
    what === "name"
      ? `Cannot read API keys: two keys have the name "${twice}"; give each its own`
      : "Cannot read API keys: a key stands there twice; remove one of its lines",
  );
}

/** The word is not shown unless it looks like a field: it may be a part of a key. */
function wrongField(line: number, field: string): SyntaxError {
  const received = /^[a-z_]{1,20}$/.test(field) ? `, received "${field}"` : "";
  return wrong(line, `after the key must come ${FIELDS.map((name) => `${name}=…`).join(", ")}${received}`);
}

function wrong(line: number, message: string): SyntaxError {
  return new SyntaxError(`Cannot read API keys, line ${line}: ${message}`);
}
