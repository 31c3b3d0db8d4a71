// The way out: from the moment a server is told to stop, it takes no new work, says so to whoever probes it, and knows
// when the work it has is done. How long it may take is decided elsewhere.
import type { MiddlewareHandler } from "hono";
import { HttpProblem } from "./http_problem.ts";
import type { Exchange, ExchangeWatcher } from "./exchange.ts";

/** Long enough for a load balancer to notice, short enough for a client with one server that restarts. */
const RETRY_AFTER_SECONDS = 5;

export class Drain implements ExchangeWatcher {
  readonly #idle = Promise.withResolvers<void>();
  #draining = false;
  #working = 0;

  get draining(): boolean {
    return this.#draining;
  }

  /** Requests for work whose reply is not complete. */
  get working(): number {
    return this.#working;
  }

  /** Takes no new work from now on. @returns resolved when there is none left */
  begin(): Promise<void> {
    this.#draining = true;
    this.#settle();
    return this.#idle.promise;
  }

  started(exchange: Exchange): void {
    if (exchange.isWork) this.#working++;
  }

  ended(exchange: Exchange): void {
    if (exchange.isWork) this.#working--;
    this.#settle();
  }

  #settle(): void {
    if (this.#draining && this.#working === 0) this.#idle.resolve();
  }
}

export function drainingProblem(): HttpProblem {
  return new HttpProblem("unavailable", "The server is shutting down: try again elsewhere, or later", {
    code: "draining",
    retryAfterSeconds: RETRY_AFTER_SECONDS,
  });
}

/** Answers 503 to new work while the server drains. */
export function refuseWhileDraining(drain: Drain): MiddlewareHandler {
  return async function refuseWhileDraining(c, next) {
    if (drain.draining && c.get("exchange").isWork) throw drainingProblem();
    await next();
  };
}
