// One grammar, known to a worker of its own, and the completions that follow it. Whatever a grammar does, the engine goes on:
// one that cannot be read, or takes too long, loses its worker, and the completions that follow it fail.
import { hasToken } from "../kernels/sampling/token_mask.ts";
import { EngineUnavailableError, InvalidRequestError } from "./errors.ts";
import {
  type FromGrammarWorker,
  GRAMMAR_LIBRARY,
  type GrammarText,
  type GrammarVocabulary,
} from "./grammar.ts";
import type { GrammarThreadView } from "./grammar_thread.ts";
import type { TokenConstraint } from "./token_constraint.ts";

/** For the library, which may have to be downloaded. */
const LOAD_TIMEOUT_MS = 20_000;
/** For compiling, and for a mask: as a rule they take a tenth of a second, and a fraction of a millisecond. */
const COMPILE_TIMEOUT_MS = 10_000, MASK_TIMEOUT_MS = 2_000;
/** For reading what has come by then. */
const UNREAD_MS = 10;

export interface GrammarClientOptions {
  readonly vocabulary: Pick<GrammarVocabulary, "endIds" | "suppressed">;
  /** Told whenever a constraint is no longer pending. */
  readonly onReady: () => void;
  readonly loadTimeoutMs?: number;
  readonly compileTimeoutMs?: number;
  /** Told whenever no completion follows it any more. */
  readonly onIdle: () => void;
  /** It is of no use any more. */
  readonly onEnded: () => void;
}

/** One grammar, and the completions that follow it. */
export class GrammarClient implements Disposable {
  readonly #thread: GrammarThreadView;
  readonly #grammar: GrammarText;
  readonly #options: GrammarClientOptions;
  readonly #matchers = new Map<number, GrammarConstraint>();
  #compiled = false;
  #opened = 0;
  /** Runs out when an answer is overdue. */
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param thread that has no grammar yet; it is the client's from now on */
  constructor(grammar: GrammarText, thread: GrammarThreadView, options: GrammarClientOptions) {
    this.#grammar = grammar;
    this.#thread = thread;
    this.#options = options;
    thread.onMessage = (message) => this.#receive(message);
    thread.post({ kind: "compile", grammar });
    this.#watch(thread.loaded ? this.#compileTimeoutMs : options.loadTimeoutMs ?? LOAD_TIMEOUT_MS);
  }

  get #compileTimeoutMs(): number {
    return this.#options.compileTimeoutMs ?? COMPILE_TIMEOUT_MS;
  }

  get inUse(): boolean {
    return this.#matchers.size > 0;
  }

  get isPending(): boolean {
    return this.#compiled && [...this.#matchers.values()].some(({ next }) => next === "pending");
  }

  /**
   * As `GrammarPool.open`.
   * @param field the client's name of the field that the grammar came in
   */
  open(field: string, onFailed: (error: Error) => void): TokenConstraint {
    const matcher = this.#opened++;
    const { vocabulary: { endIds, suppressed } } = this.#options;
    const constraint = new GrammarConstraint({
      endIds,
      suppressed,
      onFailed,
      field,
      accept: (id) => {
        this.#thread.post({ kind: "accept", matcher, id });
        this.#watch(MASK_TIMEOUT_MS);
      },
      close: () => {
        if (!this.#matchers.delete(matcher)) return;
        if (this.#compiled || this.inUse) this.#thread.post({ kind: "close", matcher });
        else this.#abandon(); // Nobody waits for it any more: it could compile for long.
        if (!this.inUse) this.#options.onIdle();
      },
    });
    this.#matchers.set(matcher, constraint);
    this.#thread.post({ kind: "open", matcher });
    if (this.#compiled) this.#watch(MASK_TIMEOUT_MS);
    return constraint;
  }

  /** Ends the worker. */
  [Symbol.dispose]() {
    clearTimeout(this.#timer);
    this.#thread[Symbol.dispose]();
  }

  #receive(message: FromGrammarWorker) {
    switch (message.kind) {
      case "loaded":
        break;
      case "missing":
        return this.#fail((field) => libraryError(field, "and could not be downloaded"));
      case "compiled":
        this.#compiled = true;
        break;
      case "mask":
        this.#matchers.get(message.matcher)?.allow(message.mask);
        this.#options.onReady();
        break;
      case "refused":
        return this.#fail((field) =>
          message.reason === undefined
            ? fault(
              field,
              `the grammar library breaks down over the ${this.#name}: it may be nested too deep`,
            )
            : fault(field, `the grammar library refuses the ${this.#name} and says: "${message.reason}"`)
        );
      case "failed":
        return this.#fail(() => new Error(`Grammar broke down: ${message.reason}`));
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#compiled) this.#watch(this.#compileTimeoutMs);
    else if (this.isPending) this.#watch(MASK_TIMEOUT_MS);
  }

  /** Gives the worker so long for its next word. */
  #watch(timeoutMs: number) {
    // A step may have held up this thread for longer: then the word is there, and is read before the second timer.
    this.#timer ??= setTimeout(() => {
      this.#timer = setTimeout(() => this.#fail((field) => this.#overdue(field, timeoutMs)), UNREAD_MS);
    }, timeoutMs);
  }

  #overdue(field: string, timeoutMs: number): Error {
    const seconds = `${timeoutMs / 1000} s`, deed = this.#compiled ? "follow" : "compile";
    return this.#thread.loaded
      ? fault(field, `the ${this.#name} took more than ${seconds} to ${deed}; send a simpler one`)
      : libraryError(field, `or could not be loaded within ${seconds}`);
  }

  get #name(): string {
    return { regex: "regular expression", jsonSchema: "JSON schema", ebnf: "grammar" }[this.#grammar.kind];
  }

  #abandon() {
    this[Symbol.dispose]();
    this.#options.onEnded();
  }

  #fail(errorOf: (field: string) => Error) {
    this.#abandon();
    const failed = [...this.#matchers.values()];
    this.#matchers.clear();
    for (const constraint of failed) constraint.fail(errorOf(constraint.field));
    this.#options.onReady();
    if (this.#thread.loaded) this.#options.onIdle();
  }
}

interface GrammarConstraintOptions {
  readonly endIds: readonly number[];
  readonly suppressed: readonly number[];
  /** As in `Grammar`. */
  readonly field: string;
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

  get field(): string {
    return this.#options.field;
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
      this.fail(fault(this.field, "it allows nothing that the model can write next"));
    } else this.#next = mask;
  }

  fail(error: Error) {
    this.#options.onFailed(error);
  }

  [Symbol.dispose]() {
    this.#options.close();
  }
}

function fault(field: string, what: string): InvalidRequestError {
  return new InvalidRequestError(`Cannot follow "${field}": ${what}`, { field, reason: "invalid_value" });
}

function libraryError(field: string, why: string): EngineUnavailableError {
  return new EngineUnavailableError(
    `Cannot follow "${field}": the library for grammars is not on this machine ${why}; ` +
      `fetch it once, where there is a network: deno cache ${GRAMMAR_LIBRARY}`,
    "no_grammar_library",
    undefined,
    field,
  );
}
