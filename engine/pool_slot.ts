// A model's place in a pool: what it is, its engine while it is loaded, and who needs it.
import type { Engine, EngineState, ModelInfo } from "./engine.ts";
import type { ListedModel } from "./model_choice.ts";

export interface PoolModel {
  /** What is known of it before it is loaded. */
  readonly listed: ListedModel;
  /** What it takes, once the backend is known that the primary has. */
  readonly bytes: (backend: string | undefined) => number;
  /** Starts an engine, which starts to load the model. */
  readonly open: () => Engine;
}

/** A model's engine, for as long as the lease is not disposed of. */
export interface EngineLease extends Disposable {
  readonly engine: Engine;
}

/** A model's place: its engine while it is loaded, and who needs it. */
export interface PoolSlot {
  readonly model: PoolModel;
  engine: Engine | undefined;
  /** As of the last time that it was loaded. */
  info: ModelInfo | undefined;
  loading: Promise<Engine> | undefined;
  failure: string | undefined;
  users: number;
  /** Counts uses of the pool. */
  lastUsed: number;
  bytes: number;
}

export function newSlot(model: PoolModel): PoolSlot {
  const empty = { engine: undefined, info: undefined, loading: undefined, failure: undefined };
  return { model, ...empty, users: 0, lastUsed: 0, bytes: 0 };
}

/** Undefined: not loaded, and fit to be. */
export function stateOf({ engine, loading, failure }: PoolSlot): EngineState | undefined {
  if (engine) return engine.state;
  if (loading) return { phase: "loading", progress: 0 };
  return failure === undefined ? undefined : { phase: "failed", reason: failure };
}

/** The slot's engine, if it takes requests. */
export function serving({ engine, info }: PoolSlot): Engine | undefined {
  const phase = engine?.state.phase;
  return info && (phase === "ready" || phase === "rebuilding") ? engine : undefined;
}
