// Several models behind one server: each is loaded when a request first needs it, within a budget of memory; to make room
// the one that was not used for longest goes. A model that a request has, or is waiting for, stays. Knows engines by their
// interface alone.
import type { Engine } from "./engine.ts";
import { EngineUnavailableError } from "./errors.ts";
import type { ListedModel, ModelChoice, ModelStatus } from "./model_choice.ts";
import { type EngineLease, newSlot, type PoolModel, type PoolSlot, serving, stateOf } from "./pool_slot.ts";
import { PooledEngine } from "./pooled_engine.ts";

export type PoolEvent =
  | { readonly kind: "loading"; readonly id: string }
  | { readonly kind: "loaded"; readonly id: string; readonly ms: number; readonly bytes: number }
  | { readonly kind: "failed"; readonly id: string; readonly reason: string }
  | { readonly kind: "evicted"; readonly id: string; readonly bytes: number };

export interface PoolOptions {
  /** Bytes that all loaded models may take together. */
  readonly budgetBytes: number;
  readonly onEvent?: (event: PoolEvent) => void;
  /** How long a model may wait for others to become idle; default 30,000. */
  readonly roomTimeoutMs?: number;
  /** Between two looks at a model that loads; default 20. */
  readonly pollMs?: number;
}

/** As the option takes it. */
const MEGABYTE = 2 ** 20;

export class ModelPool implements ModelChoice, AsyncDisposable {
  readonly primary: PooledEngine;
  readonly #slots: readonly PoolSlot[];
  readonly #engines: ReadonlyMap<string, PooledEngine>;
  readonly #options: PoolOptions;
  /** Ends when whoever loads now is done: one loads at a time. */
  #turn: Promise<void> = Promise.resolve();
  #uses = 0;
  #onIdle: (() => void)[] = [];
  #isClosed = false;

  /**
   * Starts to load the first, which is the primary.
   * @throws {RangeError} when two have one name, or one alone is larger than the budget wherever it runs
   */
  constructor(models: readonly PoolModel[], options: PoolOptions) {
    this.#options = options;
    this.#slots = models.map((model) => newSlot(model));
    requireDistinct(models);
    for (const model of models) requireRoom(model, options.budgetBytes);
    this.#engines = new Map(
      this.#slots.map((
        slot,
      ) => [slot.model.listed.id, new PooledEngine(slot, (signal) => this.#lease(slot, signal))]),
    );
    this.primary = this.#engines.get(models[0].listed.id)!;
    this.#load(this.#slots[0], { isUnasked: true }).catch(() => {}); // Its state tells.
  }

  list(): readonly ListedModel[] {
    return this.#slots.map(({ model, info }) => info ?? model.listed);
  }

  statuses(): readonly ModelStatus[] {
    return this.#slots.map((slot) => {
      const { model: { listed: { id } }, users } = slot, state = stateOf(slot);
      return state ? { id, users, ...state } : { id, users, phase: "unloaded" };
    });
  }

  loaded(): readonly Engine[] {
    const slots = this.#slots.filter(({ engine, info }) => engine && info);
    return slots.map(({ model: { listed } }) => this.#engines.get(listed.id)!);
  }

  find(name: string | undefined): PooledEngine | undefined {
    return name ? this.#engines.get(name) : this.primary;
  }

  async choose(name: string | undefined, signal?: AbortSignal): Promise<Engine | undefined> {
    const engine = this.find(name);
    await engine?.load(signal);
    return engine;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#wake();
    await Promise.all(this.#slots.map(({ engine }) => engine?.[Symbol.asyncDispose]()));
  }

  async #lease(slot: PoolSlot, signal?: AbortSignal): Promise<EngineLease> {
    signal?.throwIfAborted();
    slot.users++;
    slot.lastUsed = ++this.#uses;
    const release = () => {
      slot.users--;
      slot.lastUsed = ++this.#uses;
      if (slot.users === 0) this.#wake();
    };
    try {
      const engine = serving(slot) ?? await this.#loadFor(slot, signal);
      let isReleased = false;
      return {
        engine,
        [Symbol.dispose]() {
          if (!isReleased) release();
          isReleased = true;
        },
      };
    } catch (error) {
      release();
      throw error;
    }
  }

  async #loadFor(slot: PoolSlot, signal?: AbortSignal): Promise<Engine> {
    for (;;) {
      try {
        return await orAborted(this.#load(slot), signal);
      } catch (error) {
        // Given up before this request came: it begins anew.
        if (!(error instanceof UnwantedLoad)) throw error;
        signal?.throwIfAborted();
      }
    }
  }

  /**
   * The same load for all who ask while it lasts.
   * @param isUnasked it is not given up where nobody waits for it
   */
  #load(slot: PoolSlot, { isUnasked = false } = {}): Promise<Engine> {
    const requireWanted = () => {
      if (slot.users === 0 && !isUnasked) throw new UnwantedLoad();
    };
    return slot.loading ??= this.#inTurn(() => this.#loadNow(slot, requireWanted))
      .finally(() => slot.loading = undefined);
  }

  async #inTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const before = this.#turn, mine = Promise.withResolvers<void>();
    this.#turn = mine.promise;
    await before;
    try {
      return await work();
    } finally {
      mine.resolve();
    }
  }

  async #loadNow(slot: PoolSlot, requireWanted: () => void): Promise<Engine> {
    requireWanted();
    const { id } = slot.model.listed, startedAt = performance.now();
    await this.#unload(slot);
    const bytes = slot.model.bytes(this.#backend());
    await this.#makeRoom(slot, bytes, requireWanted);
    this.#emit({ kind: "loading", id });
    slot.failure = undefined;
    slot.bytes = bytes;
    const engine = slot.engine = slot.model.open();
    while (engine.state.phase === "loading" && !this.#isClosed) {
      await new Promise((resolve) => setTimeout(resolve, this.#options.pollMs ?? 20));
    }
    if (this.#isClosed) throw closedError();
    const { state } = engine;
    if (state.phase === "failed") {
      slot.failure = state.reason;
      this.#emit({ kind: "failed", id, reason: state.reason });
      await this.#unload(slot);
      throw new EngineUnavailableError(`The model "${id}" cannot be loaded: ${state.reason}`, "failed");
    }
    slot.info = engine.model;
    // The first one's backend is known only now.
    slot.bytes = slot.model.bytes(this.#backend());
    this.#emit({ kind: "loaded", id, ms: Math.round(performance.now() - startedAt), bytes: slot.bytes });
    return engine;
  }

  /**
   * Idle models go, the one first that was not used for longest; then whoever becomes idle. None goes for a model whose
   * requests have all left meanwhile, nor do others wait for its turn to end.
   */
  async #makeRoom(slot: PoolSlot, bytes: number, requireWanted: () => void): Promise<void> {
    const { budgetBytes, roomTimeoutMs = 30_000 } = this.#options;
    const deadline = performance.now() + roomTimeoutMs;
    for (;;) {
      if (this.#isClosed) throw closedError();
      requireWanted();
      const loaded = this.#slots.filter((other) => other !== slot && other.engine !== undefined);
      const used = loaded.reduce((sum, other) => sum + other.bytes, 0);
      if (used + bytes <= budgetBytes || loaded.length === 0) return;
      const [idlest] = loaded.filter(({ users }) => users === 0).sort((a, b) => a.lastUsed - b.lastUsed);
      if (idlest) {
        await this.#unload(idlest);
        this.#emit({ kind: "evicted", id: idlest.model.listed.id, bytes: idlest.bytes });
      } else if (!await this.#becameIdle(deadline - performance.now())) {
        const names = loaded.map((other) => `"${other.model.listed.id}"`).join(", ");
        throw new EngineUnavailableError(
          `There is no memory for the model "${slot.model.listed.id}" while ${names} ${
            loaded.length === 1 ? "is" : "are"
          } in use; try again shortly`,
          "loading",
          5,
        );
      }
    }
  }

  /** False when the time is over first. */
  #becameIdle(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), Math.max(0, ms));
      this.#onIdle.push(() => {
        clearTimeout(timer);
        resolve(true);
      });
    });
  }

  #wake(): void {
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  async #unload(slot: PoolSlot): Promise<void> {
    const { engine } = slot;
    // From now on it counts as not loaded: who comes meanwhile loads it anew, in turn.
    slot.engine = undefined;
    await engine?.[Symbol.asyncDispose]();
  }

  /** All models run where the first one does. */
  #backend(): string | undefined {
    return this.#slots[0].info?.backend;
  }

  #emit(event: PoolEvent): void {
    this.#options.onEvent?.(event);
  }
}

/** All who waited for a model left before its weights were read. Nobody is told. */
class UnwantedLoad extends Error {}

function requireDistinct(models: readonly PoolModel[]): void {
  const ids = models.map(({ listed }) => listed.id), twice = ids.find((id, i) => ids.indexOf(id) !== i);
  if (twice !== undefined) throw new RangeError(`Cannot serve two models under one name: "${twice}"`);
}

function requireRoom({ listed, bytes }: PoolModel, budgetBytes: number): void {
  const least = Math.min(bytes("cpu"), bytes("dawn"));
  if (least <= budgetBytes) return;
  const wanted = `${Math.ceil(least / MEGABYTE)}MB`, given = `${Math.floor(budgetBytes / MEGABYTE)}MB`;
  throw new RangeError(
    `Cannot serve "${listed.id}": --models-memory must be at least ${wanted} for it, received ${given}; raise it, or ` +
      "lower --kv-memory",
  );
}

/** The load itself goes on: others may wait for it, too. */
function orAborted<Result>(load: Promise<Result>, signal?: AbortSignal): Promise<Result> {
  if (!signal) return load;
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  return Promise.race([load, aborted.promise]).finally(() => signal.removeEventListener("abort", abort));
}

function closedError(): EngineUnavailableError {
  return new EngineUnavailableError("The engine was closed", "closed");
}
