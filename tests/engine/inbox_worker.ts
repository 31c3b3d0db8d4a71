// A thread whose steps follow each other at once, as an engine's under load; answers each message with its number and
// the turns that it has waited.
import { setImmediate } from "node:timers";
import { Inbox } from "../../engine/inbox.ts";

export interface Start {
  readonly port: MessagePort;
  /** [1]: turns so far, which the sender reads as well. */
  readonly turns: Int32Array;
  readonly stepMs: number;
}

export interface Numbered {
  readonly number: number;
  /** Turns so far, when it was sent. */
  readonly sentAt: number;
}

const scope = self as unknown as Worker;

scope.onmessage = async ({ data: { port, turns, stepMs } }: MessageEvent<Start>) => {
  const inbox = new Inbox<Numbered>(port, ({ number, sentAt }) => {
    scope.postMessage({ number, waited: Atomics.load(turns, 0) - sentAt });
  });
  for (;;) {
    for (const end = performance.now() + stepMs; performance.now() < end;);
    await new Promise((resolve) => setImmediate(resolve));
    inbox.drain();
    Atomics.add(turns, 0, 1);
  }
};
