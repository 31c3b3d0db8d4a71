import { ok, strictEqual } from "node:assert/strict";
import { setImmediate } from "node:timers";
import { TickPacer } from "../../device/tick_pacer.ts";

/** An addon that polls like Dawn's: asks for another turn as long as its work is not done. */
function startPolling(pacer: TickPacer, durationMs: number): { done: Promise<void>; turns: () => number } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = performance.now() + durationMs;
  let turns = 0;
  const turn = () => {
    turns++;
    if (performance.now() >= end) resolve();
    else pacer.schedule(turn);
  };
  return {
    done: pacer.wait((pacer.schedule(turn), promise), 0),
    turns: () => turns,
  };
}

Deno.test("TickPacer.wait() lets a long wait poll some hundred times, not tens of thousands", async () => {
  const polling = startPolling(new TickPacer(setImmediate), 60);
  await polling.done;
  ok(polling.turns() < 600, `${polling.turns()} turns`);
});

Deno.test("TickPacer.wait() keeps still for most of the expected time and then notices the end", async () => {
  const pacer = new TickPacer(setImmediate);
  const { promise, resolve } = Promise.withResolvers<number>();
  const began = performance.now();
  let firstTurn = 0;
  const waiting = pacer.wait(promise, 40);
  pacer.schedule(() => {
    firstTurn = performance.now() - began;
    resolve(7);
  });
  strictEqual(await waiting, 7);
  ok(firstTurn >= 33, `first turn after ${firstTurn} ms`);
});

Deno.test("TickPacer.schedule() passes callbacks on at once outside waits, and after a wait that failed", async () => {
  const pacer = new TickPacer(setImmediate);
  await pacer.wait(Promise.reject(new Error("lost")), 1000).catch(() => {});
  await new Promise<void>((resolve) => pacer.schedule(resolve));
});

Deno.test("TickPacer lets callbacks go that a wait still held when it ended", async () => {
  const pacer = new TickPacer(setImmediate);
  const { promise, resolve } = Promise.withResolvers<void>();
  const waiting = pacer.wait(promise, 100_000);
  const held = new Promise<void>((done) => pacer.schedule(done));
  resolve();
  await waiting;
  await held;
});
