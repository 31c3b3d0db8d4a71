// One grammar, known to a worker of its own, and the completions that follow it. Whatever a grammar does, the engine goes on:
// one that cannot be read, or takes too long, loses its worker, and the completions that follow it fail.
import { hasToken } from "../kernels/sampling/token_mask.ts";
import { InvalidRequestError } from "./errors.ts";
import type { FromGrammarWorker, Grammar, GrammarVocabulary, ToGrammarWorker } from "./grammar.ts";
import type { TokenConstraint } from "./token_constraint.ts";

/** For loading the library and compiling, and for a mask: as a rule they take a second, and a fraction of a millisecond. */
const COMPILE_TIMEOUT_MS = 10_000, MASK_TIMEOUT_MS = 2_000;
/** For reading what has come by then. */
const UNREAD_MS = 10;

export interface GrammarClientOptions {
  readonly vocabulary: GrammarVocabulary;
  /** Told whenever a constraint is no longer pending. */
  readonly onReady: () => void;
  readonly compileTimeoutMs?: number;
  /** It is of no use any more. */
  readonly onEnded: () => void;
}

/** One grammar, and the completions that follow it. */
export class GrammarClient implements Disposable {
  readonly #worker: Worker;
  readonly #grammar: Grammar;
  readonly #options: GrammarClientOptions;
  readonly #matchers = new Map<number, GrammarConstraint>();
  #compiled = false;
  #opened = 0;
  /** Runs out when an answer is overdue. */
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(grammar: Grammar, options: GrammarClientOptions) {
    this.#grammar = grammar;
    this.#options = options;
    this.#worker = new Worker(new URL("./grammar_worker.ts", import.meta.url), {
      type: "module",
      name: "grammar",
    });
    this.#worker.onmessage = ({ data }: MessageEvent<FromGrammarWorker>) => this.#receive(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new Error(`Grammar broke down: ${event.message}`));
    };
    this.#post({ kind: "compile", grammar, vocabulary: options.vocabulary });
    this.#watch(options.compileTimeoutMs ?? COMPILE_TIMEOUT_MS);
  }

  get inUse(): boolean {
    return this.#matchers.size > 0;
  }

  get isPending(): boolean {
    return this.#compiled && [...this.#matchers.values()].some(({ next }) => next === "pending");
  }

  /** As `GrammarPool.open`. */
  open(onFailed: (error: Error) => void): TokenConstraint {
    const matcher = this.#opened++;
    const { vocabulary: { endIds, suppressed } } = this.#options;
    const constraint = new GrammarConstraint({
      endIds,
      suppressed,
      onFailed,
      accept: (id) => {
        this.#post({ kind: "accept", matcher, id });
        this.#watch(MASK_TIMEOUT_MS);
      },
      close: () => {
        if (!this.#matchers.delete(matcher)) return;
        if (this.#compiled || this.inUse) this.#post({ kind: "close", matcher });
        else this.#abandon(); // Nobody waits for it any more: it could compile for long.
      },
    });
    this.#matchers.set(matcher, constraint);
    this.#post({ kind: "open", matcher });
    if (this.#compiled) this.#watch(MASK_TIMEOUT_MS);
    return constraint;
  }

  /** Ends the worker. */
  [Symbol.dispose]() {
    clearTimeout(this.#timer);
    this.#worker.terminate();
  }

  #receive(message: FromGrammarWorker) {
    switch (message.kind) {
      case "compiled":
        this.#compiled = true;
        break;
      case "mask":
        this.#matchers.get(message.matcher)?.allow(message.mask);
        this.#options.onReady();
        break;
      case "refused":
        return this.#fail(grammarError(this.#grammar, message.reason));
      case "failed":
        return this.#fail(new Error(`Grammar broke down: ${message.reason}`));
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.isPending) this.#watch(MASK_TIMEOUT_MS);
  }

  /** Gives the worker so long for its next word. */
  #watch(timeoutMs: number) {
    // A step may have held up this thread for longer: then the word is there, and is read before the second timer.
    this.#timer ??= setTimeout(() => {
      this.#timer = setTimeout(() => this.#fail(this.#overdue(timeoutMs)), UNREAD_MS);
    }, timeoutMs);
  }

  #overdue(timeoutMs: number): Error {
    const what = this.#compiled ? "follow" : "compile";
    return grammarError(
      this.#grammar,
      `it took more than ${timeoutMs / 1000} s to ${what}; a simpler one is needed`,
    );
  }

  #abandon() {
    this[Symbol.dispose]();
    this.#options.onEnded();
  }

  #fail(error: Error) {
    this.#abandon();
    const failed = [...this.#matchers.values()];
    this.#matchers.clear();
    for (const constraint of failed) constraint.fail(error);
    this.#options.onReady();
  }

  #post(message: ToGrammarWorker) {
    this.#worker.postMessage(message);
  }
}

interface GrammarConstraintOptions {
  readonly endIds: readonly number[];
  readonly suppressed: readonly number[];
  readonly onFailed: (error: Error) => void;
  readonly accept: (id: number) => void;
  readonly close: () => void;
}

/** One completion on its way through a grammar. */
class GrammarConstraint implements TokenConstraint {
  readonly #options: GrammarConstraintOptions;
  #next: Uint32Array | "pending" = "pending";
  #ended = false;

  constructor(options: GrammarConstraintOptions) {
    this.#options = options;
  }

  get next(): Uint32Array | "pending" {
    return this.#next;
  }

  get ended(): boolean {
    return this.#ended;
  }

  accept(id: number) {
    if (this.#options.endIds.includes(id)) {
      this.#ended = true;
      return;
    }
    this.#next = "pending";
    this.#options.accept(id);
  }

  /** Word of what may come next. A mask without anything that can be drawn is a grammar that leads nowhere. */
  allow(mask: Uint32Array) {
    for (const id of this.#options.suppressed) if (hasToken(mask, id)) mask[id >>> 5] &= ~(1 << (id & 31));
    if (mask.every((word) => word === 0)) {
      this.fail(
        new InvalidRequestError("Cannot go on: the grammar allows nothing that the model can write next", {
          field: "grammar",
          reason: "invalid_value",
        }),
      );
    } else this.#next = mask;
  }

  fail(error: Error) {
    this.#options.onFailed(error);
  }

  [Symbol.dispose]() {
    this.#options.close();
  }
}

function grammarError({ kind, field }: Grammar, reason: string): InvalidRequestError {
  const name = { regex: "regular expression", jsonSchema: "JSON schema", ebnf: "grammar" }[kind];
  return new InvalidRequestError(`Cannot admit request: the ${name} cannot be followed: ${reason}`, {
    field,
    reason: "invalid_value",
  });
}
