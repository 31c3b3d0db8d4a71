// Looks at a server's /metrics while a load runs: before, after, and at steady times between.
import type { Endpoint } from "./client.ts";
import { countersOf, type ServerCounters } from "./server_counters.ts";

export interface CounterSample {
  /** On the clock of `performance.now()`. */
  readonly at: number;
  readonly counters: ServerCounters;
}

const TIMEOUT_MS = 5000;
const IDLE_MS = 10_000, IDLE_POLL_MS = 100;

/** Undefined where the server has none, or does not answer in time. */
export async function readCounters({ url, headers }: Endpoint): Promise<ServerCounters | undefined> {
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(`${url}/metrics`, { headers: { ...headers }, signal });
    const text = await response.text();
    return response.ok ? countersOf(text) : undefined;
  } catch {
    return undefined;
  }
}

/**
 * As `readCounters`, but once nothing runs and nothing waits, or after `IDLE_MS`: a server may notice late that a client
 * has left, and what it computes until then counts.
 */
export async function readIdleCounters(endpoint: Endpoint): Promise<ServerCounters | undefined> {
  const until = performance.now() + IDLE_MS;
  for (;;) {
    const counters = await readCounters(endpoint);
    const busy = counters && ((counters.running ?? 0) > 0 || (counters.waiting ?? 0) > 0);
    if (!busy || performance.now() > until) return counters;
    await pause(IDLE_POLL_MS);
  }
}

/** Samples from its making until it is disposed of. A server without metrics is asked once only. */
export class CounterSampler implements AsyncDisposable {
  readonly samples: CounterSample[] = [];
  readonly #endpoint: Endpoint;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(endpoint: Endpoint, intervalMs: number) {
    this.#endpoint = endpoint;
    this.#running = this.#run(intervalMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(intervalMs: number): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const at = performance.now();
      const counters = await readCounters(this.#endpoint);
      if (!counters && this.samples.length === 0) return;
      if (counters) this.samples.push({ at, counters });
      await pause(intervalMs, this.#stop.signal);
    }
  }
}

/** Resolves after `ms`, or as soon as the signal is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted || ms <= 0) return Promise.resolve();
  return new Promise((resolve) => {
    function wake() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", wake);
      resolve();
    }
    const timer = setTimeout(wake, ms);
    signal?.addEventListener("abort", wake, { once: true });
  });
}
