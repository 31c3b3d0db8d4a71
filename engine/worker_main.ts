// Entry of the worker that owns device and model.
import { loadModel } from "../models/load_model.ts";
import { LocalEngine } from "./local_engine.ts";
import { serveEngine, type WorkerScope } from "./worker_server.ts";

serveEngine(self as unknown as WorkerScope, (options, link) =>
  new LocalEngine({
    ...options,
    ...link,
    openModel: (onProgress) => loadModel(options.load, onProgress),
  }));
