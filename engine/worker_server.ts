// The worker's side of `worker_engine.ts`: runs an engine and answers the messages that ask for it.
import type { Engine, EngineState } from "./engine.ts";
import type { EngineOptions } from "./engine_options.ts";
import { Inbox } from "./inbox.ts";
import {
  type EngineAnswer,
  type EngineCall,
  type FromWorker,
  type OpenMessage,
  toErrorRecord,
  type ToWorker,
  unpackRequest,
} from "./worker_messages.ts";

/** What is needed of a worker's global scope. */
export interface WorkerScope {
  onmessage: ((event: MessageEvent<OpenMessage>) => void) | null;
  postMessage(messages: readonly FromWorker[]): void;
  close(): void;
}

export type MakeEngine = (options: EngineOptions, link: EngineLink) => Engine;

/** What an engine is given to reach the thread that it is for. */
export interface EngineLink {
  readonly onState: (state: EngineState) => void;
  /** As in `LocalEngineOptions`. */
  readonly takeMessages: () => void;
}

/** Serves one engine, made when the first message has come, until it is closed. */
export function serveEngine(scope: WorkerScope, makeEngine: MakeEngine) {
  const requests = new Map<number, AbortController>();
  const unsent: FromWorker[] = [];
  let engine: Engine | undefined;

  /** In their order, those of one turn together: a message of its own for each token takes longer than all else about it. */
  function post(message: FromWorker) {
    if (unsent.push(message) === 1) queueMicrotask(send);
  }

  function send() {
    if (unsent.length > 0) scope.postMessage(unsent.splice(0));
  }

  function postState(state: EngineState) {
    const served = state.phase === "ready" ? { model: engine!.model } : {};
    post({ kind: "state", state, ...served });
  }

  async function relay(id: number, submit: (signal: AbortSignal) => AsyncIterable<unknown>) {
    const controller = new AbortController();
    requests.set(id, controller);
    try {
      for await (const event of submit(controller.signal)) {
        post({ kind: "event", id, event } as FromWorker);
      }
      post({ kind: "end", id });
    } catch (error) {
      if (!controller.signal.aborted) post({ kind: "error", id, error: toErrorRecord(error) });
    } finally {
      requests.delete(id);
    }
  }

  async function answer(id: number, call: EngineCall) {
    try {
      post({ kind: "answer", id, value: await ask(engine!, call) });
    } catch (error) {
      post({ kind: "error", id, error: toErrorRecord(error) });
    }
  }

  async function close() {
    await engine?.[Symbol.asyncDispose]();
    post({ kind: "closed" });
    send();
    scope.close();
  }

  function receive(data: ToWorker) {
    switch (data.kind) {
      case "submit":
        relay(data.id, (signal) => engine!.submit(unpackRequest(data.request), signal));
        post({ kind: "taken" });
        break;
      case "cancel":
        requests.get(data.id)?.abort();
        break;
      case "call":
        answer(data.id, data.call);
        break;
      case "close":
        close();
        break;
    }
  }

  scope.onmessage = ({ data: { options, inbox } }) => {
    const messages = new Inbox(inbox, receive);
    engine = makeEngine(options, { onState: postState, takeMessages: () => messages.drain() });
  };
}

function ask(engine: Engine, call: EngineCall): Promise<EngineAnswer> {
  switch (call.method) {
    case "tokenize":
      return engine.tokenize(call.text, { parseSpecial: call.parseSpecial });
    case "detokenize":
      return engine.detokenize(call.ids);
    case "tokenBytes":
      return engine.tokenBytes(call.ids);
    case "stats":
      return engine.stats();
    case "sequences":
      return engine.sequences({ withPrompts: call.withPrompts });
    case "blocks":
      return engine.blocks();
  }
}
