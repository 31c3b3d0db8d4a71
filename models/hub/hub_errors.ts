// What a refusal of the hub means, and what to do about it.
import type { HubAccess } from "./hub_access.ts";

/** An answer that asking again will not change. Its message is for the user. */
export class HubError extends Error {
  override readonly name = "HubError";
}

/**
 * The error for a refused request. The hub says 401 of repositories that do not exist, too, unless a token shows that one
 * could see them; "X-Error-Code" tells the difference where it is there.
 * @param subject "org/name", or "file of org/name"
 */
export function refusal(
  subject: string,
  repo: string,
  status: number,
  code: string | null,
  { endpoint, token }: HubAccess,
): HubError {
  return new HubError(`Cannot pull ${subject}: ${reason(repo, status, code, endpoint, token !== undefined)}`);
}

function reason(
  repo: string,
  status: number,
  code: string | null,
  endpoint: string,
  hasToken: boolean,
): string {
  const page = `${endpoint}/${repo}`;
  if (code === "GatedRepo" || (status === 403 && code === null)) {
    return hasToken
      ? `it is gated and the token's account has no access; accept its terms at ${page}`
      : `it is gated; accept its terms at ${page}, then set HF_TOKEN to a token of your account`;
  }
  if (code === "RevisionNotFound") return `${page} has no such revision; see its branches and tags there`;
  if (code === "EntryNotFound") return "the hub listed this file but does not have it; pull again";
  if (status === 401) {
    return hasToken
      ? `the hub refused the token (401); check HF_TOKEN, and that ${page} exists`
      : `there is no such repository at ${endpoint}, or it is private: check the name, or set HF_TOKEN`;
  }
  if (status === 404) {
    return `there is no such repository at ${endpoint}; check the name${
      hasToken ? "" : ", or set HF_TOKEN if it is private"
    }`;
  }
  if (status === 429) {
    return "the hub answers 429, too many requests; wait a while, or set HF_TOKEN for a higher limit, then pull again: it goes on where it stopped";
  }
  if (status >= 500) return `the hub fails (${status}); pull again later: it goes on where it stopped`;
  return `the hub answers ${status}`;
}
