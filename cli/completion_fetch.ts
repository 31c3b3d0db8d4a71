// Where `lsp` gets its completions from: a server that runs, or the application over an engine of its own, started when
// there is none. Either is a `fetch`.
import type { Fetch } from "../lsp/completion_client.ts";

export interface OwnServer extends AsyncDisposable {
  readonly fetch: Fetch;
}

const PROBE_MS = 1_000;

/** One server for as long as it answers; from when it does not, an own one. */
export class CompletionFetch implements AsyncDisposable {
  readonly #baseUrl: string;
  readonly #network: Fetch;
  readonly #startOwn: (() => OwnServer) | undefined;
  #found: Promise<boolean> | undefined;
  #own: OwnServer | undefined;

  /** @param startOwn undefined where the server is to be this one and no other */
  constructor(baseUrl: string, startOwn?: () => OwnServer, network: Fetch = fetch) {
    this.#baseUrl = baseUrl;
    this.#startOwn = startOwn;
    this.#network = network;
  }

  /** For a status bar. */
  get place(): string {
    return this.#own ? "own process" : this.#baseUrl;
  }

  readonly fetch: Fetch = async (request) => {
    if (this.#own) return await this.#own.fetch(request);
    if (!this.#startOwn) return await this.#network(request);
    this.#found ??= this.#probe();
    // A body that was sent cannot be sent again.
    const again = request.clone();
    if (await this.#found) {
      try {
        return await this.#network(request);
      } catch (error) {
        if (request.signal.aborted) throw error;
      }
    }
    this.#own ??= this.#startOwn();
    return await this.#own.fetch(again);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#own?.[Symbol.asyncDispose]();
  }

  /** Whether a completion server answers, be it one that still loads its model. */
  async #probe(): Promise<boolean> {
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      const response = await this.#network(new Request(new URL("/health", this.#baseUrl), { signal }));
      const body = await response.json();
      return "status" in body || "error" in body;
    } catch {
      return false;
    }
  }
}
