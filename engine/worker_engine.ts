// The engine in a worker of its own, so that device work, which blocks its thread, never holds up HTTP. Same interface
// as `local_engine.ts`; knows neither device nor model.
import type { BlockMap } from "./block_map.ts";
import type { Engine, EngineState, EngineStats, ModelInfo } from "./engine.ts";
import type { EngineOptions } from "./engine_options.ts";
import { EngineUnavailableError } from "./errors.ts";
import { EventQueue } from "./event_queue.ts";
import type { GenerationEvent, GenerationRequest } from "./request.ts";
import type { SequenceInfo } from "./sequence_info.ts";
import { SubmissionLine } from "./submission_line.ts";
import { contextLengthError } from "./validate_request.ts";
import {
  type EngineAnswer,
  type EngineCall,
  fromErrorRecord,
  type FromWorker,
  type OpenMessage,
  packRequest,
  type ToWorker,
} from "./worker_messages.ts";

/** How long a worker may take to finish its step and give the device back; and while it loads, to notice. */
const CLOSE_TIMEOUT_MS = 10_000;
const CLOSE_LOADING_TIMEOUT_MS = 1_000;

export class WorkerEngine implements Engine {
  readonly #worker: Worker;
  readonly #outbox: MessagePort;
  readonly #requests = new Map<number, EventQueue<GenerationEvent>>();
  readonly #line = new SubmissionLine<GenerationRequest>((id, request) => this.#send(id, request));
  readonly #calls = new Map<number, PromiseWithResolvers<EngineAnswer>>();
  readonly #closed = Promise.withResolvers<void>();
  #state: EngineState = { phase: "loading", progress: 0 };
  #model: ModelInfo | undefined;
  #closing: Promise<void> | undefined;
  #nextId = 0;

  /**
   * Starts the worker, which starts to load the model.
   * @param entry the worker's module; tests have their own
   */
  constructor(options: EngineOptions, entry: URL = new URL("./worker_main.ts", import.meta.url)) {
    this.#worker = new Worker(entry, { type: "module", name: "engine" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker[]>) => {
      for (const message of data) this.#receive(message);
    };
    this.#worker.onmessageerror = () => this.#crash("a message could not be read");
    this.#worker.onerror = (event) => {
      event.preventDefault(); // Or the error would end this thread as well.
      this.#crash(event.message);
    };
    const { port1, port2 } = new MessageChannel();
    this.#outbox = port1;
    const message: OpenMessage = { options, inbox: port2 };
    this.#worker.postMessage(message, [port2]);
  }

  get state(): EngineState {
    return this.#state;
  }

  get model(): ModelInfo {
    this.#requireUsable();
    return this.#model!;
  }

  submit(request: GenerationRequest, signal?: AbortSignal): AsyncIterable<GenerationEvent> {
    const id = this.#nextId++;
    const queue = new EventQueue<GenerationEvent>(() => this.#cancel(id));
    try {
      signal?.throwIfAborted();
      this.#requireUsable();
      requireFitting(request, this.#model!);
    } catch (error) {
      queue.fail(error);
      return queue;
    }
    this.#requests.set(id, queue);
    this.#line.add(id, request, request.requestId ?? `submission ${id}`);
    signal?.addEventListener("abort", () => {
      this.#cancel(id);
      queue.abort(signal.reason);
    }, { once: true });
    return queue;
  }

  async tokenize(text: string, options: { parseSpecial?: boolean } = {}): Promise<number[]> {
    const { parseSpecial = false } = options;
    return await this.#call({ method: "tokenize", text, parseSpecial }) as number[];
  }

  async detokenize(ids: readonly number[]): Promise<string> {
    return await this.#call({ method: "detokenize", ids }) as string;
  }

  async tokenBytes(ids: readonly number[]): Promise<Uint8Array[]> {
    return await this.#call({ method: "tokenBytes", ids }) as Uint8Array[];
  }

  async stats(): Promise<EngineStats> {
    return await this.#call({ method: "stats" }) as EngineStats;
  }

  async sequences({ withPrompts = false } = {}): Promise<SequenceInfo[]> {
    return await this.#call({ method: "sequences", withPrompts }) as SequenceInfo[];
  }

  async blocks(): Promise<BlockMap> {
    return await this.#call({ method: "blocks" }) as BlockMap;
  }

  /** Ends all requests, lets the worker give the device back, and ends it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close() {
    this.#failAll(closedError());
    if (this.#state.phase !== "failed") {
      this.#post({ kind: "close" });
      const timeout = Promise.withResolvers<void>();
      const loading = this.#state.phase === "loading";
      const timer = setTimeout(timeout.resolve, loading ? CLOSE_LOADING_TIMEOUT_MS : CLOSE_TIMEOUT_MS);
      await Promise.race([this.#closed.promise, timeout.promise]);
      clearTimeout(timer);
    }
    this.#worker.terminate();
    this.#outbox.close();
  }

  #receive(message: FromWorker) {
    switch (message.kind) {
      case "state":
        this.#state = message.state;
        if (message.model) this.#model = message.model;
        break;
      case "taken":
        this.#line.taken();
        break;
      case "event":
        this.#requests.get(message.id)?.push(message.event);
        break;
      case "end":
        this.#requests.get(message.id)?.close();
        this.#requests.delete(message.id);
        break;
      case "answer":
        this.#calls.get(message.id)?.resolve(message.value);
        this.#calls.delete(message.id);
        break;
      case "error":
        this.#reject(message.id, fromErrorRecord(message.error));
        break;
      case "closed":
        this.#closed.resolve();
        break;
    }
  }

  #call(call: EngineCall): Promise<EngineAnswer> {
    const answer = Promise.withResolvers<EngineAnswer>();
    try {
      this.#requireUsable();
      const id = this.#nextId++;
      this.#post({ kind: "call", id, call });
      this.#calls.set(id, answer);
    } catch (error) {
      answer.reject(error);
    }
    return answer.promise;
  }

  #send(id: number, request: GenerationRequest) {
    try {
      this.#post({ kind: "submit", id, request: packRequest(request) });
    } catch (error) {
      this.#reject(id, error as Error);
      this.#line.taken();
    }
  }

  #cancel(id: number) {
    if (!this.#requests.delete(id)) return;
    if (!this.#line.remove(id)) this.#post({ kind: "cancel", id });
  }

  #reject(id: number, error: Error) {
    this.#requests.get(id)?.fail(error);
    this.#requests.delete(id);
    this.#calls.get(id)?.reject(error);
    this.#calls.delete(id);
  }

  /** The worker died: everything that waits for it fails, and nothing new is taken. */
  #crash(reason: string) {
    if (this.#state.phase === "failed") return;
    this.#state = { phase: "failed", reason };
    this.#failAll(failedError(reason));
    this.#closed.resolve();
    this.#worker.terminate();
    this.#outbox.close();
  }

  #failAll(error: Error) {
    this.#line.clear();
    for (const id of [...this.#requests.keys(), ...this.#calls.keys()]) this.#reject(id, error);
  }

  /** @throws {EngineUnavailableError} unless requests can be taken, be it to wait */
  #requireUsable() {
    if (this.#closing) throw closedError();
    if (this.#state.phase === "failed") throw failedError(this.#state.reason);
    if (!this.#model) {
      throw new EngineUnavailableError("The model is still loading; try again shortly", "loading", 2);
    }
  }

  #post(message: ToWorker) {
    this.#outbox.postMessage(message);
  }
}

/** Token ids beyond all contexts are not sent: millions of them would hold the worker up. */
function requireFitting({ prompt, maxTokens }: GenerationRequest, { contextLength }: ModelInfo): void {
  if (prompt.kind !== "tokens" || prompt.ids.length <= contextLength) return;
  throw contextLengthError(prompt.ids.length, contextLength, { numNew: maxTokens === 0 ? 0 : 1 });
}

function closedError(): EngineUnavailableError {
  return new EngineUnavailableError("The engine was closed", "closed");
}

function failedError(reason: string): EngineUnavailableError {
  return new EngineUnavailableError(`The engine has failed: ${reason}`, "failed");
}
