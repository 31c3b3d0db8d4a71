// Turns of the event loop between two steps, so that requests, cancellations and masks come in while steps run.
import { setImmediate } from "node:timers";

/**
 * How late a message of another thread may be. The runtime looks for such only when a thread has nothing to do, or once
 * in 31 turns of its event loop (tokio's `global_queue_interval`): with steps of 25 ms, and `setImmediate` alone between
 * them, a request waited for 390 ms on average and for 770 at most.
 */
const LATE_MS = 4;

const NOTHING = new Uint8Array();

export class EventLoop {
  readonly #now: () => number;
  #idleAt = -Infinity;

  /** @param now milliseconds on the engine's clock */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whatever is due in this thread is done; and once in a while also what other threads have sent it. */
  async turn(): Promise<void> {
    const now = this.#now();
    if (now - this.#idleAt >= LATE_MS) {
      this.#idleAt = now;
      // The shortest wait there is for another thread: 0.05 ms, a timer takes 2. Until then this one has nothing to do.
      await crypto.subtle.digest("SHA-1", NOTHING);
    }
    // That may have been done at once, without any turn.
    await new Promise((resolve) => setImmediate(resolve));
  }
}
