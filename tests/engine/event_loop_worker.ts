// A thread whose steps follow each other at once, as an engine's under load; answers each message with the number of
// turns that it has waited.
import { EventLoop } from "../../engine/event_loop.ts";

const STEP_MS = 6;

const scope = self as unknown as Worker;

scope.onmessage = async ({ data: turns }: MessageEvent<Int32Array>) => {
  const loop = new EventLoop(() => performance.now());
  scope.onmessage = ({ data: sentAt }: MessageEvent<number>) => {
    scope.postMessage(Atomics.load(turns, 0) - sentAt);
  };
  for (;;) {
    for (const end = performance.now() + STEP_MS; performance.now() < end;);
    await loop.turn();
    Atomics.add(turns, 0, 1);
  }
};
