// Reads configuration files with zod, so that what is wrong is named by file, field and value.
import { z } from "zod";

/** A number of layers, heads, tokens and the like; the cap keeps a hostile file from asking for endless work. */
export function count(max: number) {
  return z.int("must be a whole number").min(1).max(max);
}

/**
 * @param file name for the error
 * @throws {TypeError} naming the first field at fault and the value it has
 */
export function parseConfig<Schema extends z.ZodType>(
  schema: Schema,
  json: unknown,
  file: string,
): z.output<Schema> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0];
  const value = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown>)?.[key], json);
  const field = path.length > 0 ? `"${path.join(".")}"` : "it";
  throw new TypeError(`Cannot load model: ${file}: ${field}: ${message}, received ${JSON.stringify(value)}`);
}

/** A copy of a configuration object in which each alias that is set fills its unset canonical field. */
export function resolveAliases(json: unknown, aliases: Readonly<Record<string, string>>): unknown {
  if (typeof json !== "object" || json === null || Array.isArray(json)) return json;
  const resolved: Record<string, unknown> = { ...json };
  for (const [alias, field] of Object.entries(aliases)) {
    if (alias in resolved && !(field in resolved)) resolved[field] = resolved[alias];
  }
  return resolved;
}
