// Several models for tests of the HTTP layer: the real pool, over engines that compute nothing.
import { ModelPool } from "../../engine/model_pool.ts";
import type { FakeEngine } from "./fake_engine.ts";

export interface FakePool extends AsyncDisposable {
  readonly pool: ModelPool;
  /** Names of the models that were loaded, as often as they were. */
  readonly loaded: string[];
}

/** Room for all; the first is the primary, and loaded at once. */
export function openFakePool(engines: readonly FakeEngine[]): FakePool {
  const loaded: string[] = [];
  const models = engines.map((engine) => ({
    listed: engine.model,
    bytes: () => 1,
    open: () => {
      loaded.push(engine.model.id);
      return engine;
    },
  }));
  const pool = new ModelPool(models, { budgetBytes: engines.length, pollMs: 1 });
  return { pool, loaded, [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose]() };
}
