// Texts as token ids, for routes that need ids themselves. The engine encodes between two steps, so what a request may
// have encoded is bounded.
import type { Engine } from "../engine/engine.ts";
import { HttpProblem } from "./http_problem.ts";

/** A second's work on a slow core where the text is one character over and over, a tenth of that for code. */
export const MAX_ENCODED_CHARACTERS = 131_072;

/**
 * Control tokens that a text spells are parsed unless `parseSpecial` is false.
 * @param field the client's name of what the text is from
 * @throws {HttpProblem} the text is too long
 */
export async function encodeText(
  engine: Engine,
  text: string,
  field: string,
  { parseSpecial = true } = {},
): Promise<number[]> {
  requireEncodable([text], field);
  return await engine.tokenize(text, { parseSpecial });
}

/** A text with token ids among its parts. @throws {HttpProblem} its texts are too long together */
export async function encodeParts(
  engine: Engine,
  parts: readonly (string | number)[],
  field: string,
  options: { parseSpecial?: boolean } = {},
): Promise<number[]> {
  requireEncodable(parts, field);
  const ids: number[] = [];
  for (const part of parts) {
    if (typeof part === "number") ids.push(part);
    else for (const id of await encodeText(engine, part, field, options)) ids.push(id);
  }
  return ids;
}

/** @throws {HttpProblem} the texts among the parts are too long together */
export function requireEncodable(parts: readonly (string | number)[], field: string): void {
  const characters = parts.reduce<number>(
    (sum, part) => sum + (typeof part === "string" ? part.length : 0),
    0,
  );
  if (characters <= MAX_ENCODED_CHARACTERS) return;
  throw new HttpProblem(
    "invalid",
    `"${field}" must be at most ${MAX_ENCODED_CHARACTERS} characters long, received ${characters}`,
    { param: field, code: "invalid_value" },
  );
}
