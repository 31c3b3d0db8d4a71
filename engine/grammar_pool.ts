// The grammars in use, each in a worker of its own. Compiled ones are kept until others need the place; and once there was
// one, a worker with the library loaded is kept for the next.
import { EngineUnavailableError } from "./errors.ts";
import type { Grammar, GrammarVocabulary } from "./grammar.ts";
import { GrammarClient } from "./grammar_client.ts";
import { GrammarThread } from "./grammar_thread.ts";
import type { TokenConstraint } from "./token_constraint.ts";

/** Grammars at most: each has a copy of the library in its worker, some tens of megabytes. */
const MAX_GRAMMARS = 8;
/** How long a step waits for masks: they are usually there much sooner, and who waits for longer misses the step. */
const SETTLE_MS = 2;
/** From the end of the last completion: starting a worker holds this thread up, and its reply is on its way first. */
const SPARE_DELAY_MS = 200;

export interface GrammarPoolLimits {
  readonly maxGrammars?: number;
  readonly compileTimeoutMs?: number;
}

export class GrammarPool implements Disposable {
  readonly #makeVocabulary: () => GrammarVocabulary;
  readonly #onReady: () => void;
  readonly #limits: GrammarPoolLimits;
  /** By the grammar's text; the one used last is last. */
  readonly #workers = new Map<string, GrammarClient>();
  /** Without a grammar yet. */
  #spare: GrammarThread | undefined;
  #spareTimer: ReturnType<typeof setTimeout> | undefined;
  #vocabulary: GrammarVocabulary | undefined;
  /** Ends the wait of `settle`. */
  #settled: () => void = () => {};

  /**
   * @param makeVocabulary asked with the first grammar
   * @param onReady told whenever a constraint is no longer pending
   */
  constructor(makeVocabulary: () => GrammarVocabulary, onReady: () => void, limits: GrammarPoolLimits = {}) {
    this.#makeVocabulary = makeVocabulary;
    this.#onReady = onReady;
    this.#limits = limits;
  }

  /** Whether the next grammar that is new finds the library loaded. */
  get hasSpare(): boolean {
    return this.#spare?.loaded ?? false;
  }

  /** Grammars that are kept. */
  get size(): number {
    return this.#workers.size;
  }

  /** Whether any constraint waits for word of what may come next. */
  get isPending(): boolean {
    return [...this.#workers.values()].some(({ isPending }) => isPending);
  }

  /**
   * A constraint for one completion, pending at first.
   * @param onFailed told once when the grammar turns out to be none, or breaks down
   * @throws {EngineUnavailableError} when as many other grammars are in use as there is room for
   */
  open(grammar: Grammar, onFailed: (error: Error) => void): TokenConstraint {
    const { field, ...text } = grammar;
    const key = JSON.stringify(text);
    let worker = this.#workers.get(key);
    this.#workers.delete(key);
    if (!worker) {
      this.#makeRoom();
      const thread = this.#spare ?? this.#startThread();
      this.#spare = undefined;
      const started: GrammarClient = worker = new GrammarClient(text, thread, {
        ...this.#limits,
        vocabulary: this.#vocabulary!,
        onReady: () => this.#ready(),
        onIdle: () => this.#keepSpare(),
        onEnded: () => {
          if (this.#workers.get(key) === started) this.#workers.delete(key);
        },
      });
    }
    this.#workers.set(key, worker);
    return worker.open(field, onFailed);
  }

  /** Waits until no constraint is pending but for a grammar that is being compiled, for 2 ms at most. */
  async settle(): Promise<void> {
    if (!this.isPending) return;
    const settled = Promise.withResolvers<void>();
    this.#settled = settled.resolve;
    const timer = setTimeout(settled.resolve, SETTLE_MS);
    await settled.promise;
    clearTimeout(timer);
  }

  #ready() {
    if (!this.isPending) this.#settled();
    this.#onReady();
  }

  /** Ends all workers; the constraints have ended before. */
  [Symbol.dispose]() {
    for (const worker of this.#workers.values()) worker[Symbol.dispose]();
    this.#workers.clear();
    clearTimeout(this.#spareTimer);
    this.#spare?.[Symbol.dispose]();
    this.#spare = undefined;
  }

  #startThread(): GrammarThread {
    return new GrammarThread(this.#vocabulary ??= this.#makeVocabulary());
  }

  #keepSpare() {
    clearTimeout(this.#spareTimer);
    this.#spareTimer = setTimeout(() => this.#startSpare(), SPARE_DELAY_MS);
  }

  /** Loads the library for a grammar to come; while none is followed, for it takes time from whoever computes. */
  #startSpare() {
    if (this.#spare || [...this.#workers.values()].some(({ inUse }) => inUse)) return;
    const spare = this.#spare = this.#startThread();
    spare.onMessage = ({ kind }) => {
      if (kind !== "missing" && kind !== "failed") return;
      spare[Symbol.dispose]();
      this.#spare = undefined;
    };
  }

  #makeRoom() {
    const { maxGrammars = MAX_GRAMMARS } = this.#limits;
    if (this.#workers.size < maxGrammars) return;
    const unused = [...this.#workers].find(([, worker]) => !worker.inUse);
    if (!unused) {
      throw new EngineUnavailableError(
        `Cannot admit request: ${maxGrammars} other grammars are in use; try again later`,
        "queue_full",
      );
    }
    unused[1][Symbol.dispose]();
    this.#workers.delete(unused[0]);
  }
}
