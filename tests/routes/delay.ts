// Waiting in tests, with and without a condition.

/** Resolves after `ms`; rejects with the signal's reason as soon as it is aborted. Leaves no timer behind. */
export function delay(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  return new Promise((resolve, reject) => {
    function abort() {
      clearTimeout(timer);
      reject(signal!.reason);
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** Long enough for a machine that does much else besides; a test that passes never waits so long. */
const PATIENCE_MS = 30_000;

/** Waits until the condition holds. @throws {Error} it does not, for long */
export async function until(condition: () => boolean, what: string): Promise<void> {
  for (const start = Date.now(); !condition();) {
    if (Date.now() - start > PATIENCE_MS) throw new Error(`Waited in vain until ${what}`);
    await delay(5);
  }
}
