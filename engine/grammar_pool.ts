// The grammars in use, each in a worker of its own. Compiled ones are kept until others need the place.
import { EngineUnavailableError } from "./errors.ts";
import type { Grammar, GrammarVocabulary } from "./grammar.ts";
import { GrammarClient } from "./grammar_client.ts";
import type { TokenConstraint } from "./token_constraint.ts";

/** Grammars at most: each has a copy of the library in its worker, some tens of megabytes. */
const MAX_GRAMMARS = 8;
/** How long a step waits for masks: they are usually there much sooner, and who waits for longer misses the step. */
const SETTLE_MS = 2;

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
    const { field: _, ...text } = grammar;
    const key = JSON.stringify(text);
    let worker = this.#workers.get(key);
    this.#workers.delete(key);
    if (!worker) {
      this.#makeRoom();
      const started: GrammarClient = worker = new GrammarClient(grammar, {
        ...this.#limits,
        vocabulary: this.#vocabulary ??= this.#makeVocabulary(),
        onReady: () => this.#ready(),
        onEnded: () => {
          if (this.#workers.get(key) === started) this.#workers.delete(key);
        },
      });
    }
    this.#workers.set(key, worker);
    return worker.open(onFailed);
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
