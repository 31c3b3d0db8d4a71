// Where `lsp` gets its completions from: a server that runs, or the application over an engine of its own, started when
// there is none. Either is a `fetch`.
import type { Fetch } from "../clients/lsp/completion_client.ts";

export interface OwnServer extends AsyncDisposable {
  readonly fetch: Fetch;
}

const PROBE_MS = 1_000;

export interface Sources {
  /** Of a server that may run. */
  readonly baseUrl?: string;
  /** Starts an own one; absent where it is to be that one and no other. */
  readonly startOwn?: () => OwnServer;
  readonly network?: Fetch;
}

/** One server for as long as it answers; from when it does not, an own one. */
export class CompletionFetch implements AsyncDisposable {
  readonly #sources: Sources;
  readonly #network: Fetch;
  #found: Promise<boolean> | undefined;
  #own: OwnServer | undefined;

  constructor(sources: Sources) {
    this.#sources = sources;
    this.#network = sources.network ?? fetch;
  }

  /** For a status bar. */
  get place(): string {
    return this.#own ? "own process" : this.#sources.baseUrl ?? "own process";
  }

  readonly fetch: Fetch = async (request) => {
    if (this.#own) return await this.#own.fetch(request);
    const { startOwn } = this.#sources;
    if (!startOwn) return await this.#network(request);
    // A body that was sent cannot be sent again.
    const again = request.clone();
    if (await (this.#found ??= this.#probe())) {
      try {
        return await this.#network(request);
      } catch (error) {
        if (request.signal.aborted) throw error;
      }
    }
    this.#own ??= startOwn();
    return await this.#own.fetch(again);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#own?.[Symbol.asyncDispose]();
  }

  /** Whether a completion server answers, be it one that still loads its model. */
  async #probe(): Promise<boolean> {
    const { baseUrl } = this.#sources;
    if (baseUrl === undefined) return false;
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      const response = await this.#network(new Request(new URL("/health", baseUrl), { signal }));
      const body = await response.json();
      return "status" in body || "error" in body;
    } catch {
      return false;
    }
  }
}
