// Paces how often Dawn's addon polls the GPU.
//
// While a promise is pending, the addon asks Dawn for news through `setImmediate`, as often as the event loop turns.
// Each turn leaves a native function for Deno's garbage collector, whose cost grows with the square of their number:
// after some ten thousand turns (50 ms of waiting) the thread stands still for 0.7 s. So the addon is given a
// `setImmediate` that keeps still for most of the time that the wait is expected to take, then lets a few turns through.

/** Turns begin at this share of the expected time. */
const QUIET_SHARE = 0.85;
/** Between turns: at least this, and at least this share of the time waited. */
const MIN_INTERVAL_MS = 0.02;
const INTERVAL_SHARE = 1 / 32;
/** Timers are only this exact; the rest of a pause is spent turning the event loop. */
const TIMER_MARGIN_MS = 2.5;

type Callback = () => void;

export class TickPacer {
  readonly #immediate: (callback: Callback) => void;
  readonly #now: () => number;
  readonly #held: Callback[] = [];
  #waits = 0;
  #began = 0;
  #nextTurn = 0;
  #driving = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param immediate runs a callback in the next turn of the event loop */
  constructor(immediate: (callback: Callback) => void, now: () => number = () => performance.now()) {
    this.#immediate = immediate;
    this.#now = now;
  }

  /** What the addon gets to call as `setImmediate`. Outside waits it is just that. */
  schedule(callback: Callback): void {
    if (this.#waits === 0) return this.#immediate(callback);
    this.#held.push(callback);
    if (!this.#driving) this.#drive();
  }

  /** Awaits `work`, which the GPU is expected to take `expectedMs` for (0: unknown). */
  async wait<T>(work: Promise<T>, expectedMs: number): Promise<T> {
    if (this.#waits++ === 0) this.#began = this.#now();
    this.#nextTurn = this.#now() + expectedMs * QUIET_SHARE;
    try {
      return await work;
    } finally {
      if (--this.#waits === 0) this.#release();
    }
  }

  #drive(): void {
    const now = this.#now();
    const pauseMs = this.#nextTurn - now;
    this.#driving = this.#held.length > 0 && pauseMs > 0;
    if (this.#driving) return this.#pause(pauseMs);
    this.#nextTurn = now + Math.max(MIN_INTERVAL_MS, (now - this.#began) * INTERVAL_SHARE);
    this.#release();
  }

  #pause(pauseMs: number): void {
    if (pauseMs <= 2 * TIMER_MARGIN_MS) return this.#immediate(() => this.#drive());
    this.#timer = setTimeout(() => this.#drive(), pauseMs - TIMER_MARGIN_MS);
  }

  #release(): void {
    clearTimeout(this.#timer);
    this.#driving = false;
    for (const callback of this.#held.splice(0)) this.#immediate(callback);
  }
}
