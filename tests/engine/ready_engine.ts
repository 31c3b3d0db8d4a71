// An engine that has loaded its model, for tests.
import { LocalEngine, type LocalEngineOptions } from "../../engine/local_engine.ts";

/** @throws {Error} with the reason when the model cannot be loaded */
export async function readyEngine(options: LocalEngineOptions): Promise<LocalEngine> {
  const ready = Promise.withResolvers<void>();
  const engine = new LocalEngine({
    ...options,
    onState: (state) => {
      if (state.phase === "ready") ready.resolve();
      if (state.phase === "failed") ready.reject(new Error(state.reason));
      options.onState?.(state);
    },
  });
  await ready.promise;
  return engine;
}
