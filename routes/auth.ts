// API keys: who may pass, not how they are configured. Without keys every request passes, whatever it sends (editor
// plugins send an empty bearer token when they have none).
import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "hono";
import { HttpProblem } from "./errors.ts";

/** Probes carry no key; the reference page and its document show the shape of the API and nothing else. */
const PUBLIC_PATHS = new Set(["/", "/healthz", "/readyz", "/health", "/v1/health", "/docs", "/openapi.json"]);

/**
 * Lets a request pass that shows one of the keys as `Authorization: Bearer KEY` or `X-Api-Key: KEY`.
 * @throws {TypeError} a configured key is empty
 */
export function requireApiKey(apiKeys: readonly string[]): MiddlewareHandler {
  if (apiKeys.some((key) => key.trim() === "")) throw new TypeError("Cannot use an empty API key");
  const digests = apiKeys.flatMap(headerForms).map(digest);
  return async function requireApiKey(c, next) {
    if (digests.length > 0 && !PUBLIC_PATHS.has(c.req.path)) {
      checkKey(digests, bearerToken(c.req.header("authorization")) ?? c.req.header("x-api-key") ?? "");
    }
    await next();
  };
}

function checkKey(digests: readonly Uint8Array[], key: string): void {
  if (matchesAny(digests, digest(key))) return;
  const message = key === ""
    ? 'This server needs an API key: send it as "Authorization: Bearer KEY"'
    : "Incorrect API key provided";
  throw new HttpProblem("unauthenticated", message, {
    code: "invalid_api_key",
    headers: { "WWW-Authenticate": "Bearer" },
  });
}

function bearerToken(header: string | undefined): string | undefined {
  return header?.match(/^Bearer +(\S.*)$/i)?.[1]?.trim();
}

/** Compares digests, so that neither the time taken nor an early exit tells a key's length or its first characters. */
function matchesAny(digests: readonly Uint8Array[], candidate: Uint8Array): boolean {
  let found = false;
  for (const known of digests) found = timingSafeEqual(known, candidate) || found;
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
