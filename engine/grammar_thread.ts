// A worker of `grammar_worker.ts` from its start to its end. It loads the library at once, so that one that was started
// ahead has only its grammar to compile.
import type { FromGrammarWorker, GrammarVocabulary, ToGrammarWorker } from "./grammar.ts";

/** What is used of one. */
export type GrammarThreadView = Pick<GrammarThread, keyof GrammarThread>;

export class GrammarThread implements Disposable {
  readonly #worker: Worker;
  #loaded = false;
  /** Told of all that the worker says from now on. */
  onMessage: (message: FromGrammarWorker) => void = () => {};

  constructor(vocabulary: GrammarVocabulary) {
    this.#worker = new Worker(new URL("./grammar_worker.ts", import.meta.url), {
      type: "module",
      name: "grammar",
    });
    this.#worker.onmessage = ({ data }: MessageEvent<FromGrammarWorker>) => {
      if (data.kind === "loaded") this.#loaded = true;
      this.onMessage(data);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.onMessage({ kind: "failed", reason: event.message });
    };
    this.post({ kind: "load", vocabulary });
  }

  /** The library is loaded. */
  get loaded(): boolean {
    return this.#loaded;
  }

  post(message: ToGrammarWorker) {
    this.#worker.postMessage(message);
  }

  [Symbol.dispose]() {
    this.#worker.terminate();
  }
}
