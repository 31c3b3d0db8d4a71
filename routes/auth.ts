// API keys: who may pass, not how they are configured. Without keys every request passes, whatever it sends (editor
// plugins send an empty bearer token when they have none).
import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import type { ApiKey } from "./api_keys.ts";
import { HttpProblem } from "./http_problem.ts";

/** Looked at without a key: probes carry none; the reference page and its document show the API's shape and nothing else. */
const PUBLIC_PATHS = new Set(["/", "/healthz", "/readyz", "/health", "/v1/health", "/docs", "/openapi.json"]);
const PUBLIC_METHODS = new Set(["GET", "HEAD"]);
/** Public, but not to a wrong key: by it Tabby's clients find out that theirs is. */
const KEY_CHECKS = new Set(["/v1/health"]);
/** The playground's files: the page asks its user for a key, and sends it with what it fetches. */
const PUBLIC_FILES = "/playground/";

/**
 * Lets a request pass that shows one of the keys as `Authorization: Bearer KEY` or `X-Api-Key: KEY`, or that only looks
 * at what is public; whoever shows a key is known by its name there, too.
 * @throws {TypeError} a configured key is empty, or two have the same name
 */
export function requireApiKey(apiKeys: readonly ApiKey[]): MiddlewareHandler {
  if (apiKeys.some(({ key }) => key.trim() === "")) throw new TypeError("Cannot use an empty API key");
  const twice = apiKeys.find(({ name }, index) => apiKeys.findIndex((other) => other.name === name) < index);
  if (twice) throw new TypeError(`Cannot use two API keys named "${twice.name}": give each its own name`);
  const known = apiKeys.flatMap(({ key, name }) =>
    headerForms(key).map((form) => ({ digest: digest(form), name }))
  );
  return async function requireApiKey(c, next) {
    if (known.length > 0) {
      const shown = bearerToken(c.req.header("authorization")) ?? c.req.header("x-api-key") ?? "";
      const name = findName(known, digest(shown));
      if (name !== undefined) c.get("exchange").keyName = name;
      else if (!isPublic(c.req.method, c.req.path, shown)) throw wrongKey(shown);
    }
    await next();
  };
}

function isPublic(method: string, path: string, shown: string): boolean {
  if (shown !== "" && KEY_CHECKS.has(path)) return false;
  return PUBLIC_METHODS.has(method) && (PUBLIC_PATHS.has(path) || path.startsWith(PUBLIC_FILES));
}

interface KnownKey {
  readonly digest: Uint8Array;
  readonly name: string;
}

function wrongKey(key: string): HttpProblem {
  const message = key === ""
    ? 'This server needs an API key: send it as "Authorization: Bearer KEY"'
    : "Incorrect API key provided";
  return new HttpProblem("unauthenticated", message, {
    code: "invalid_api_key",
    headers: { "WWW-Authenticate": "Bearer" },
  });
}

function bearerToken(header: string | undefined): string | undefined {
  return header?.match(/^Bearer +(\S.*)$/i)?.[1]?.trim();
}

/** Compares all digests, so that neither the time taken nor an early exit tells a key's length or its beginning. */
function findName(known: readonly KnownKey[], candidate: Uint8Array): string | undefined {
  let found: string | undefined;
  for (const { digest, name } of known) if (timingSafeEqual(digest, candidate)) found = name;
  return found;
}

/**
 * A key as a header gives it, a character for each byte: clients write letters outside ASCII in UTF-8, or in Latin-1
 * where that has them. Blanks around it are the header's, not the key's.
 */
function headerForms(key: string): string[] {
  const text = key.trim();
  const utf8 = String.fromCharCode(...new TextEncoder().encode(text));
  return /^[\0-\xff]*$/.test(text) ? [utf8, text] : [utf8];
}

function digest(key: string): Uint8Array {
  return createHash("sha256").update(key).digest();
}
