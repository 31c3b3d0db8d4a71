// Texts as token ids, for routes that need ids themselves. The engine encodes between two steps, so what a request may
// have encoded is bounded.
import type { Engine } from "../engine/engine.ts";
import { HttpProblem } from "./http_problem.ts";

/** About a second's work on a slow core. */
export const MAX_ENCODED_CHARACTERS = 262_144;

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
  requireEncodable(text.length, field);
  return await engine.tokenize(text, { parseSpecial });
}

/** A text with token ids among its parts. @throws {HttpProblem} its texts are too long together */
export async function encodeParts(
  engine: Engine,
  parts: readonly (string | number)[],
  field: string,
  options: { parseSpecial?: boolean } = {},
): Promise<number[]> {
  requireEncodable(
    parts.reduce<number>((sum, part) => sum + (typeof part === "string" ? part.length : 0), 0),
    field,
  );
  const ids: number[] = [];
  for (const part of parts) {
    if (typeof part === "number") ids.push(part);
    else for (const id of await encodeText(engine, part, field, options)) ids.push(id);
  }
  return ids;
}

/** More characters than most tokens have. */
const USUAL_CHARACTERS_PER_TOKEN = 8;

/**
 * The last tokens of a text, `most` where there are as many. No more of the text is encoded than that takes, and no more
 * than a request may have encoded.
 */
export async function lastTokensOf(engine: Engine, text: string, most: number): Promise<number[]> {
  for (let length = most * USUAL_CHARACTERS_PER_TOKEN;; length *= 2) {
    const end = endOf(text, Math.min(length, MAX_ENCODED_CHARACTERS));
    const ids = await engine.tokenize(end, { parseSpecial: true });
    const isEnough = ids.length > most || end.length === text.length || length >= MAX_ENCODED_CHARACTERS;
    if (isEnough) return ids.slice(Math.max(0, ids.length - most));
  }
}

/** At most so many code units, and no half of a character. */
function endOf(text: string, length: number): string {
  return text.slice(Math.max(0, text.length - length)).replace(/^[\udc00-\udfff]/, "");
}

function requireEncodable(characters: number, field: string): void {
  if (characters <= MAX_ENCODED_CHARACTERS) return;
  throw new HttpProblem(
    "invalid",
    `"${field}" must be at most ${MAX_ENCODED_CHARACTERS} characters long, received ${characters}`,
    { param: field, code: "invalid_value" },
  );
}
