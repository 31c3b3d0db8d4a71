// Waits for the server: asks for the model's name until there is an answer.
import type { Clock } from "./clock.ts";
import type { CompletionClient } from "./completion_client.ts";
import { isLoading } from "./server_problem.ts";

const LOADING_POLL_MS = 500;
const UNREACHABLE_POLL_MS = 5_000;

export interface WatchEvents {
  readonly answers: (model: string) => void;
  /** It is asked again. */
  readonly fails: (error: Error) => void;
}

export class ServerWatch {
  readonly #client: CompletionClient;
  readonly #clock: Clock;
  readonly #closed: AbortSignal;
  readonly #events: WatchEvents;
  #polling: Promise<void> | undefined;

  constructor(client: CompletionClient, clock: Clock, closed: AbortSignal, events: WatchEvents) {
    this.#client = client;
    this.#clock = clock;
    this.#closed = closed;
    this.#events = events;
  }

  /** Resolves when the server has answered, or the signal says that nobody waits. Asks once, however many call. */
  poll(): Promise<void> {
    return this.#polling ??= this.#pollUntilAnswered().finally(() => this.#polling = undefined);
  }

  async #pollUntilAnswered(): Promise<void> {
    while (!this.#closed.aborted) {
      try {
        return this.#events.answers(await this.#client.modelId(this.#closed));
      } catch (error) {
        if (this.#closed.aborted) return;
        this.#events.fails(error as Error);
        await this.#clock.delay(isLoading(error) ? LOADING_POLL_MS : UNREACHABLE_POLL_MS, this.#closed);
      }
    }
  }
}
