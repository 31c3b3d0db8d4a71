// Which models there are, and the engine for the one that a request names. Knows no HTTP: what an unknown name gets is each
// dialect's own.
import type { Engine, EngineState, ModelInfo } from "./engine.ts";

/** What lists of models show; known of models that are not loaded, too. */
export type ListedModel = Pick<
  ModelInfo,
  | "id"
  | "architecture"
  | "fileFormat"
  | "contextLength"
  | "vocabSize"
  | "width"
  | "numParameters"
  | "weightBytes"
  | "fim"
>;

export interface ModelStatus {
  readonly id: string;
  readonly phase: EngineState["phase"] | "unloaded";
  /** 0 to 1, while it is loading. */
  readonly progress?: number;
  /** Why it failed. */
  readonly reason?: string;
  /** Requests that have it, or wait for it. */
  readonly users: number;
}

export interface ModelChoice {
  /** For requests that name no model. */
  readonly primary: Engine;
  /**
   * The primary is the first.
   * @throws {EngineUnavailableError} while what there is to know is not known yet
   */
  list(): readonly ListedModel[];
  statuses(): readonly ModelStatus[];
  /** Engines whose models are in memory. */
  loaded(): readonly Engine[];
  /**
   * The engine of a name, loaded or not; undefined where there is none of this name. No name, or an empty one, is the
   * primary's.
   * @throws {EngineUnavailableError} while names are not known yet
   */
  find(name: string | undefined): Engine | undefined;
  /**
   * The same, its model loaded so that `model` can be read.
   * @throws {EngineUnavailableError} when it cannot be loaded now
   * @throws the signal's reason
   */
  choose(name: string | undefined, signal?: AbortSignal): Promise<Engine | undefined>;
}

/** The choice of one. */
export class SingleModel implements ModelChoice, AsyncDisposable {
  readonly primary: Engine;

  constructor(engine: Engine) {
    this.primary = engine;
  }

  list(): readonly ListedModel[] {
    return [this.primary.model];
  }

  statuses(): readonly ModelStatus[] {
    const { state } = this.primary;
    return state.phase === "ready" ? [{ id: this.primary.model.id, phase: "ready", users: 0 }] : [];
  }

  loaded(): readonly Engine[] {
    return [this.primary];
  }

  find(name: string | undefined): Engine | undefined {
    return !name || name === this.primary.model.id ? this.primary : undefined;
  }

  // deno-lint-ignore require-await -- so that what it throws is the promise's
  async choose(name: string | undefined): Promise<Engine | undefined> {
    const { id } = this.primary.model;
    return this.find(name || id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.primary[Symbol.asyncDispose]();
  }
}
