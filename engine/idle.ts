// What an engine does while there is no step to run: checks the cache, not too often, and sleeps until it is woken.

/** Of the time, what checks may take: with tens of thousands of blocks one takes some ten milliseconds. */
const CHECK_SHARE = 1 / 100;
/** How late a deadline may be noticed while nothing but a grammar is waited for, which wakes nobody until it is compiled. */
const DEADLINE_MS = 20;

export class Idle {
  readonly #now: () => number;
  #wake: () => void = () => {};
  #nextCheckAt = -Infinity;

  /** @param now milliseconds on the engine's clock */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** There may be something to do. */
  wake() {
    this.#wake();
  }

  /**
   * Until it is woken.
   * @param check of what nobody works with now; thrown errors are the caller's
   * @param watchesTime requests are in flight, and may run out of time: then it wakes by itself
   */
  async rest(check: () => void, watchesTime: boolean): Promise<void> {
    this.#checkSparingly(check);
    const woken = Promise.withResolvers<void>();
    this.#wake = woken.resolve;
    const timer = watchesTime ? setTimeout(woken.resolve, DEADLINE_MS) : undefined;
    await woken.promise;
    clearTimeout(timer);
  }

  #checkSparingly(check: () => void) {
    const startedAt = this.#now();
    if (startedAt < this.#nextCheckAt) return;
    check();
    const ms = this.#now() - startedAt;
    this.#nextCheckAt = startedAt + ms / CHECK_SHARE;
  }
}
