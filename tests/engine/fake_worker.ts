// The worker that tests run instead of the real one: the real server and engine over a fake runner. What goes wrong
// in it is named by `load.modelDir`.
import { LocalEngine } from "../../engine/local_engine.ts";
import { serveEngine, type WorkerScope } from "../../engine/worker_server.ts";
import { fakeModel, VOCAB_SIZE } from "./fake_model.ts";
import { FakeRunner } from "./fake_runner.ts";

if (new URL(import.meta.url).searchParams.has("broken")) throw new Error("broken module");

serveEngine(self as unknown as WorkerScope, (options, link) => {
  let steps = 0;
  function beforeStep() {
    steps++;
    if (options.load.modelDir === "crash" && steps === 3) {
      setTimeout(() => {
        throw new Error("segfault of a kind");
      });
      return new Promise<void>(() => {});
    }
    if (options.load.modelDir === "throw" && steps === 3) throw new TypeError("kernel bug");
  }
  return new LocalEngine({
    ...options,
    ...link,
    openModel: (onProgress) => {
      onProgress(0.5);
      if (options.load.modelDir === "missing") return Promise.reject(new Error("no such folder"));
      const endless = options.load.modelDir === "endless";
      const limits = endless ? { maxBlocksPerSequence: 2 ** 14, numBlocks: 2 ** 15 } : {};
      const model = fakeModel(new FakeRunner({ vocabSize: VOCAB_SIZE, beforeStep, limits }));
      return Promise.resolve(endless ? { ...model, contextLength: 2 ** 18 } : model);
    },
  });
});
