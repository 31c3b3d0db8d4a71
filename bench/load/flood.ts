// Batch work beside live editors: a fixed number of long completions at once, a new one whenever one ends.
import { complete, type Endpoint, type Outcome } from "./client.ts";
import type { Job } from "./dialect.ts";

/** Tells a server that knows classes (docs/scheduling.md) that nobody waits for these; others take no notice. */
const BATCH = { "X-Priority": "batch" } as const;

export interface FloodOptions {
  /** Completions at once. */
  readonly width: number;
  readonly nextJob: () => Job;
}

export class Flood implements AsyncDisposable {
  readonly outcomes: Outcome[] = [];
  readonly #stop = new AbortController();
  readonly #workers: Promise<void>[];

  constructor(endpoint: Endpoint, { width, nextJob }: FloodOptions) {
    this.#workers = Array.from({ length: width }, () => this.#work(endpoint, nextJob));
  }

  async #work(endpoint: Endpoint, nextJob: () => Job): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const outcome = await complete(endpoint, nextJob(), { signal, headers: BATCH });
      this.outcomes.push(outcome);
      // A server that refuses is not asked again at once.
      if (outcome.kind !== "complete") await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#workers);
  }
}
