// JSON as clients write it. JavaScript's cut texts where it suits them, also between the halves of a character, and write
// each half as an escape; no reply may repeat those, for strict readers refuse the whole of it.

/** A character escaped as two halves, half of one, or any other escape. */
const ESCAPE =
  /\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[dD][89a-fA-F][\da-fA-F]{2}|[^])/g;
const HALF_LENGTH = "\\uD800".length;

/**
 * Half a character is read as U+FFFD, as the model would see it.
 * @throws {SyntaxError} it is no JSON
 */
export function parseJsonText(text: string): unknown {
  if (!/\\u[dD][89a-fA-F]/.test(text)) return JSON.parse(text);
  return JSON.parse(text.replace(ESCAPE, (escape) => escape.length === HALF_LENGTH ? "\\uFFFD" : escape));
}
