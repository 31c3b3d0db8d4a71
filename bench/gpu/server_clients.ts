// The clients of server.ts in a closed loop, spread over workers, and what they ask: random token ids, so that no cache has
// any of them.

export interface ClientsLoad {
  readonly url: string;
  readonly clients: number;
  readonly promptTokens: number;
  readonly newTokens: number;
}

/** What a worker is told first; any later message tells it to stop. */
export interface ClientsTask extends ClientsLoad {
  /** Of the first client, so that all clients of all workers differ. */
  readonly firstSeed: number;
}

/** An answer that has ended, times on the clock of `Date.now()`. */
export interface Answer {
  readonly startedAt: number;
  readonly firstAt: number;
  readonly endedAt: number;
  /** As the server counts them. */
  readonly tokens: number;
}

export type ClientsMessage =
  | { readonly kind: "answer"; readonly answer: Answer }
  | { readonly kind: "failed"; readonly reason: string }
  | { readonly kind: "stopped" };

/** Ids from here to there are ordinary words in every vocabulary that the benchmarks use. */
const FIRST_ID = 300, NUM_IDS = 3000;

/** All clients, spread over workers. */
export class Clients implements AsyncDisposable {
  readonly answers: Answer[] = [];
  readonly #workers: readonly Worker[];
  readonly #failed = Promise.withResolvers<never>();
  readonly #waits: { readonly count: number; readonly resolve: () => void }[] = [];
  #running: number;
  readonly #stopped = Promise.withResolvers<void>();

  constructor({ clients, ...load }: ClientsLoad, mostWorkers: number) {
    const numWorkers = Math.min(clients, mostWorkers);
    this.#failed.promise.catch(() => {}); // Whoever waits for something else sees it.
    this.#running = numWorkers;
    this.#workers = Array.from({ length: numWorkers }, (_, i) => {
      const first = Math.floor(i * clients / numWorkers), next = Math.floor((i + 1) * clients / numWorkers);
      return this.#start({ ...load, clients: next - first, firstSeed: first });
    });
  }

  /** Resolves with the answer of that number. */
  async answered(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waits.push({ count, resolve });
    await Promise.race([promise, this.#failed.promise]);
  }

  /** No client asks again; resolves when the last answer has ended. */
  async stop(): Promise<void> {
    for (const worker of this.#workers) worker.postMessage("stop");
    await Promise.race([this.#stopped.promise, this.#failed.promise]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    for (const worker of this.#workers) worker.terminate();
    return Promise.resolve();
  }

  #start(task: ClientsTask): Worker {
    const worker = new Worker(new URL("./server_client_worker.ts", import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<ClientsMessage>) => this.#receive(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#failed.reject(new Error(`A client broke down: ${event.message}`));
    };
    worker.postMessage(task);
    return worker;
  }

  #receive(message: ClientsMessage): void {
    if (message.kind === "failed") this.#failed.reject(new Error(`A client failed: ${message.reason}`));
    else if (message.kind === "stopped" && --this.#running === 0) this.#stopped.resolve();
    else if (message.kind === "answer") {
      this.answers.push(message.answer);
      for (const { count, resolve } of this.#waits) if (this.answers.length === count) resolve();
    }
  }
}

/** Different for each client and round: the same rounds in every run. */
export function randomPrompt(length: number, seed: number, round: number): number[] {
  let state = (seed * 2_654_435_761 + round * 40_503 + 1) >>> 0;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return FIRST_ID + (state >>> 8) % NUM_IDS;
  });
}
