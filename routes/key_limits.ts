// What each API key may use: requests at once, and tokens a minute. A request is let in while its key is not in debt;
// what it costs is taken from the bucket as prompt and tokens come.
import type { MiddlewareHandler } from "hono";
import type { GenerationEvent } from "../engine/request.ts";
import type { ApiKey } from "./api_keys.ts";
import { HttpProblem } from "./http_problem.ts";
import type { Exchange, ExchangeWatcher } from "./exchange.ts";
import { TokenBucket } from "./token_bucket.ts";

/** When a request of this key will end is not known, so clients are told to ask again soon. */
const CONCURRENCY_RETRY_SECONDS = 1;

interface Account {
  readonly key: ApiKey;
  readonly bucket: TokenBucket | undefined;
  running: number;
}

export class KeyLimits implements ExchangeWatcher {
  readonly #accounts: ReadonlyMap<string, Account>;
  readonly #admitted = new Set<Exchange>();
  readonly #now: () => number;

  /** `now`: milliseconds on a clock that never goes back. */
  constructor(keys: readonly ApiKey[], now: () => number) {
    this.#now = now;
    this.#accounts = new Map(keys.map((key) => [key.name, {
      key,
      bucket: key.tokensPerMinute === undefined ? undefined : new TokenBucket(key.tokensPerMinute, now()),
      running: 0,
    }]));
  }

  /**
   * Counts a request in, until its exchange ends.
   * @throws {HttpProblem} its key has as many running as it may, or has used its tokens up
   */
  admit(exchange: Exchange): void {
    const account = this.#accountOf(exchange);
    if (!account) return;
    const { name, concurrency = Infinity, tokensPerMinute } = account.key;
    if (account.running >= concurrency) {
      const most = `at most ${concurrency} ${concurrency === 1 ? "request" : "requests"} at once`;
      throw rateLimited(`The key "${name}" may have ${most}: wait for one to end`, CONCURRENCY_RETRY_SECONDS);
    }
    const waitMs = account.bucket?.msUntil(1, this.#now()) ?? 0;
    if (waitMs > 0) {
      const seconds = Math.ceil(waitMs / 1000);
      const most = `${tokensPerMinute} tokens a minute`;
      throw rateLimited(`The key "${name}" may use ${most}: try again in ${seconds} s`, seconds);
    }
    account.running++;
    this.#admitted.add(exchange);
  }

  /** OpenAI's rate-limit headers, where the request's key has a limit. */
  headers(exchange: Exchange): Record<string, string> {
    const bucket = this.#accountOf(exchange)?.bucket;
    if (!bucket) return {};
    const now = this.#now();
    return {
      "X-RateLimit-Limit-Tokens": `${bucket.perMinute}`,
      "X-RateLimit-Remaining-Tokens": `${Math.max(0, Math.floor(bucket.level(now)))}`,
      "X-RateLimit-Reset-Tokens": duration(bucket.msUntil(bucket.perMinute, now)),
    };
  }

  event(exchange: Exchange, event: GenerationEvent): void {
    const cost = event.kind === "prompt" ? event.tokenIds.length : event.kind === "token" ? 1 : 0;
    this.#accountOf(exchange)?.bucket?.spend(cost, this.#now());
  }

  ended(exchange: Exchange): void {
    if (this.#admitted.delete(exchange)) this.#accountOf(exchange)!.running--;
  }

  #accountOf({ keyName }: Exchange): Account | undefined {
    return keyName === undefined ? undefined : this.#accounts.get(keyName);
  }
}

/** Lets work pass within its key's limits, and tells the client how far it is from them. */
export function limitKeys(limits: KeyLimits): MiddlewareHandler {
  return async function limitKeys(c, next) {
    const exchange = c.get("exchange");
    if (!exchange.isWork) return await next();
    try {
      limits.admit(exchange);
      await next();
    } finally {
      for (const [name, value] of Object.entries(limits.headers(exchange))) c.header(name, value);
    }
  };
}

function rateLimited(message: string, retryAfterSeconds: number): HttpProblem {
  return new HttpProblem("rateLimited", message, { code: "rate_limit_exceeded", retryAfterSeconds });
}

/** OpenAI's form: "250ms", "1s", "6m0s". */
function duration(ms: number): string {
  if (ms < 1000) return `${Math.ceil(ms)}ms`;
  const seconds = Math.ceil(ms / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
