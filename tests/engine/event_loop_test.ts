// What other threads send while steps run one after the other comes in within a few turns.
import assert from "node:assert/strict";

const MESSAGES = 20;

Deno.test("EventLoop lets messages in within a few turns, though each follows the one before at once", async () => {
  const worker = new Worker(new URL("event_loop_worker.ts", import.meta.url), { type: "module" });
  try {
    const turns = new Int32Array(new SharedArrayBuffer(4)), waits: number[] = [];
    worker.postMessage(turns);
    while (Atomics.load(turns, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    while (waits.length < MESSAGES) {
      await new Promise((resolve) => setTimeout(resolve, 5 * waits.length)); // At any time within a turn.
      const received = Promise.withResolvers<number>();
      worker.onmessage = ({ data }) => received.resolve(data);
      worker.onerror = received.reject;
      worker.postMessage(Atomics.load(turns, 0));
      waits.push(await received.promise);
    }
    waits.sort((a, b) => a - b);
    assert.ok(waits[MESSAGES / 2] <= 3, `turns that messages waited: ${waits}`);
  } finally {
    worker.terminate();
  }
});
