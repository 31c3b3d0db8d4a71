// A server over HTTP for tests of what it answers: the engine in its worker, on a free port of this machine.
import { deepStrictEqual } from "node:assert/strict";
import type { EngineOptions } from "../../engine/engine_options.ts";
import { WorkerEngine } from "../../engine/worker_engine.ts";
import { createApp } from "../../routes/app.ts";
import { HttpServer } from "../../routes/http_server.ts";

export interface EngineServer extends AsyncDisposable {
  readonly engine: WorkerEngine;
  readonly post: (path: string, body: object, signal?: AbortSignal) => Promise<Response>;
}

/** Returns when the model is ready. */
export async function serveEngine(options: EngineOptions): Promise<EngineServer> {
  const engine = new WorkerEngine(options);
  const { fetch: handle } = createApp(engine, { apiKeys: [] });
  const server = await HttpServer.listen(handle, { hostname: "127.0.0.1", port: 0 });
  while (engine.state.phase === "loading") await new Promise((resolve) => setTimeout(resolve, 20));
  deepStrictEqual(engine.state.phase, "ready");
  return {
    engine,
    post: (path, body, signal) =>
      fetch(`http://127.0.0.1:${server.port}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
        ...(signal && { signal }),
      }),
    async [Symbol.asyncDispose]() {
      await server.shutdown();
      await engine[Symbol.asyncDispose]();
    },
  };
}
