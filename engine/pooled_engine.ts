// One model of a pool as an engine: it can be asked at any time, and has its model loaded first where it is not. Requests
// hold the model until their last event.
import type { BlockMap } from "./block_map.ts";
import type { Engine, EngineState, EngineStats, ModelInfo } from "./engine.ts";
import { EngineUnavailableError } from "./errors.ts";
import { type EngineLease, type PoolSlot, stateOf } from "./pool_slot.ts";
import type { GenerationEvent, GenerationRequest } from "./request.ts";
import type { SequenceInfo } from "./sequence_info.ts";

export class PooledEngine implements Engine {
  readonly #slot: PoolSlot;
  readonly #lease: (signal?: AbortSignal) => Promise<EngineLease>;

  constructor(slot: PoolSlot, lease: (signal?: AbortSignal) => Promise<EngineLease>) {
    this.#slot = slot;
    this.#lease = lease;
  }

  /** A model that had to give way takes requests as any other does, only later, and so it does while it is loaded anew. */
  get state(): EngineState {
    const state = stateOf(this.#slot), wasLoaded = this.#slot.info !== undefined;
    return state && !(wasLoaded && state.phase === "loading") ? state : { phase: "ready" };
  }

  /** Also of a model that had to give way. */
  get model(): ModelInfo {
    const { info, engine } = this.#slot;
    if (info ?? engine) return info ?? engine!.model;
    throw new EngineUnavailableError("The model is still loading; try again shortly", "loading", 2);
  }

  /** Resolves once the model is loaded. */
  async load(signal?: AbortSignal): Promise<void> {
    (await this.#lease(signal))[Symbol.dispose]();
  }

  async *submit(request: GenerationRequest, signal?: AbortSignal): AsyncIterable<GenerationEvent> {
    using lease = await this.#lease(signal);
    yield* lease.engine.submit(request, signal);
  }

  async tokenize(text: string, options?: { parseSpecial?: boolean }): Promise<number[]> {
    using lease = await this.#lease();
    return await lease.engine.tokenize(text, options);
  }

  async detokenize(ids: readonly number[]): Promise<string> {
    using lease = await this.#lease();
    return await lease.engine.detokenize(ids);
  }

  async tokenBytes(ids: readonly number[]): Promise<Uint8Array[]> {
    using lease = await this.#lease();
    return await lease.engine.tokenBytes(ids);
  }

  /**
   * Loads nothing.
   * @throws {EngineUnavailableError} while the model is not loaded
   */
  async stats(): Promise<EngineStats> {
    return await this.#loaded().stats();
  }

  /**
   * Loads nothing.
   * @throws {EngineUnavailableError} while the model is not loaded
   */
  async blocks(): Promise<BlockMap> {
    return await this.#loaded().blocks();
  }

  /** Loads nothing: a model that is not loaded has none. */
  async sequences(options?: { withPrompts?: boolean }): Promise<SequenceInfo[]> {
    return await this.#slot.engine?.sequences(options) ?? [];
  }

  /** The pool closes its engines. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#slot.engine?.[Symbol.asyncDispose]();
  }

  #loaded(): Engine {
    if (this.#slot.engine) return this.#slot.engine;
    throw new EngineUnavailableError("The model is not loaded", "loading");
  }
}
