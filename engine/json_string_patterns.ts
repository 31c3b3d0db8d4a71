// The texts within JSON: which patterns of a JSON schema can only match what may stand between quotes as it is, and the
// lengths of a string as such a pattern. XGrammar puts a pattern between the quotes as it stands, and its own form of
// lengths lets control characters through. Pure.

/** Any character that needs no escape. */
const PLAIN = '[^"\\\\\\x00-\\x1f]';

/** Whether the pattern can match nothing that JSON would have to escape: a quote, a backslash, a control character. */
export function isPlainPattern(pattern: string): boolean {
  let inClass = false;
  for (let i = 0; i < pattern.length; i++) {
    const unit = pattern[i];
    if (unit === "\\") {
      // Digits, word characters, and punctuation that stands for itself.
      if (!/[dw.\-+*?()[\]{}|^$/@:,;#&=!<>~%_ ]/.test(pattern[++i] ?? "")) return false;
    } else if (needsEscape(unit)) return false;
    else if (!inClass && unit === ".") return false;
    else if (!inClass && unit === "[") {
      if (pattern[i + 1] === "^") return false;
      inClass = true;
    } else if (inClass && unit === "]") inClass = false;
    else if (
      inClass && pattern[i + 1] === "-" && pattern[i + 2] !== "]" && !isPlainRange(unit, pattern[i + 2])
    ) return false;
  }
  return true;
}

function isPlainRange(first: string, last: string | undefined): boolean {
  if (last === undefined || last === "\\") return false;
  return !['"', "\\"].some((one) => first <= one && one <= last);
}

function needsEscape(unit: string): boolean {
  return unit === '"' || unit < " ";
}

type Schema = Readonly<Record<string, unknown>>;

/** The schema with the lengths of its strings written as patterns. */
export function lengthsAsPatterns(schema: unknown): unknown {
  if (typeof schema !== "object" || schema === null) return schema;
  const { minLength, maxLength, ...rest } = schema as Schema;
  const parts = Object.fromEntries(
    Object.entries(rest).map(([name, value]) => [name, rewriteWithin(name, value)]),
  );
  if (rest.type !== "string" || (minLength === undefined && maxLength === undefined)) return parts;
  return { ...parts, pattern: `^${PLAIN}{${minLength ?? 0},${maxLength ?? ""}}$` };
}

function rewriteWithin(name: string, value: unknown): unknown {
  switch (name) {
    case "items":
    case "additionalProperties":
      return lengthsAsPatterns(value);
    case "anyOf":
    case "allOf":
    case "prefixItems":
      return (value as unknown[]).map(lengthsAsPatterns);
    case "properties":
    case "$defs":
    case "definitions":
      return Object.fromEntries(
        Object.entries(value as Schema).map(([key, one]) => [key, lengthsAsPatterns(one)]),
      );
    default:
      return value;
  }
}
