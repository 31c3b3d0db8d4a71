// What a process prints, held back until another has ended.

/** A process that was killed may leave others behind, which have its pipes for as long as they live. */
const GRACE_MS = 1000;

type Output = Pick<Deno.ChildProcess, "stdout" | "stderr" | "status">;

interface Sink {
  readonly writable: WritableStream<Uint8Array>;
}

/** Reads all that a process prints, for a full pipe would stop it, and prints it once `after` is settled. */
export async function printAfter(
  after: Promise<unknown>,
  process: Output,
  to: { readonly stdout: Sink; readonly stderr: Sink } = Deno,
): Promise<void> {
  const late = new AbortController();
  const ended = process.status.then(() => setTimeout(() => late.abort(), GRACE_MS));
  await Promise.all([
    printStream(after, process.stdout, to.stdout, late.signal),
    printStream(after, process.stderr, to.stderr, late.signal),
  ]);
  clearTimeout(await ended);
}

async function printStream(
  after: Promise<unknown>,
  from: ReadableStream<Uint8Array>,
  to: Sink,
  signal: AbortSignal,
): Promise<void> {
  const kept = new TransformStream<Uint8Array, Uint8Array>({}, undefined, { highWaterMark: Infinity });
  // What was read before is not lost when the rest is given up.
  const read = from.pipeTo(kept.writable, { signal, preventAbort: true, preventClose: true })
    .catch((error) => {
      if (!signal.aborted) throw error;
    })
    .then(() => kept.writable.close());
  await after;
  await Promise.all([read, kept.readable.pipeTo(to.writable, { preventClose: true })]);
}
