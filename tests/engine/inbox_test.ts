// What other threads send to one whose steps follow each other at once comes in with the next step, all of it, in order.
import assert from "node:assert/strict";
import type { Numbered, Start } from "./inbox_worker.ts";

const BURSTS = 12;

for (const stepMs of [0.5, 2, 12]) {
  Deno.test(`Inbox receives all messages in order and within two turns, steps of ${stepMs} ms following each other`, async () => {
    const worker = new Worker(new URL("inbox_worker.ts", import.meta.url), { type: "module" });
    const { port1, port2 } = new MessageChannel();
    try {
      const turns = new Int32Array(new SharedArrayBuffer(4)),
        replies: { number: number; waited: number }[] = [];
      const start: Start = { port: port2, turns, stepMs };
      const failed = Promise.withResolvers<never>();
      worker.onerror = ({ message }) => failed.reject(new Error(message));
      worker.onmessage = ({ data }) => replies.push(data);
      worker.postMessage(start, [port2]);
      const pause = (ms: number) =>
        Promise.race([failed.promise, new Promise((resolve) => setTimeout(resolve, ms))]);
      while (Atomics.load(turns, 0) === 0) await pause(5);
      let sent = 0;
      for (let burst = 0; burst < BURSTS; burst++) {
        await pause(1 + 7 * burst % 40); // At any time within a turn.
        for (let i = 0; i <= burst % 4; i++) {
          const message: Numbered = { number: sent++, sentAt: Atomics.load(turns, 0) };
          port1.postMessage(message);
        }
      }
      while (replies.length < sent) await pause(5);
      assert.deepEqual(replies.map(({ number }) => number), Array.from({ length: sent }, (_, i) => i));
      const waits = replies.map(({ waited }) => waited);
      // With steps that are shorter than a thread's time slice the sender itself may pause between reading and sending.
      if (stepMs > 1) assert.ok(Math.max(...waits) <= 2, `turns that messages waited: ${waits}`);
    } finally {
      worker.terminate();
      port1.close();
    }
  });
}
