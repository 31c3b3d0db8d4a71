// How the server stops: the first signal lets running work finish, for a while; the second ends the process at once.
// Knows the server by what stops it, and decides nothing about requests itself.
import type { Drain } from "../routes/drain.ts";
import type { Log } from "../routes/log.ts";

/** After the engine was closed, replies still have this long to reach their clients. */
const LAST_WORDS_MS = 1_000;

const STOP_SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM"];

/** One Ctrl-C comes twice under `deno task`: from the terminal, and passed on by the task. */
const SAME_PRESS_MS = 500;

/** Resolves at the first signal to stop. From then on another ends the process, with its own exit status. */
export function firstStopSignal(): Promise<Deno.Signal> {
  const first = Promise.withResolvers<Deno.Signal>();
  let firstAt: number | undefined;
  for (const signal of STOP_SIGNALS) {
    Deno.addSignalListener(signal, () => {
      const now = performance.now();
      if (firstAt !== undefined && isSecond(signal, now - firstAt)) {
        Deno.exit(signal === "SIGTERM" ? 143 : 130);
      }
      firstAt ??= now;
      first.resolve(signal);
    });
  }
  return first.promise;
}

/** Whether a signal so long after the first is another one. */
export function isSecond(signal: Deno.Signal, msSinceFirst: number): boolean {
  return signal !== "SIGINT" || msSinceFirst >= SAME_PRESS_MS;
}

export interface ShutdownOptions {
  readonly drain: Drain;
  /** Fails what still runs, each request in its own dialect. */
  readonly closeEngine: () => Promise<void>;
  readonly server: { shutdown(): Promise<void> };
  /** How long running work may go on, milliseconds. */
  readonly timeoutMs: number;
  readonly log: Log;
  /** Resolves after so many milliseconds, and keeps no process alive. */
  readonly after?: (ms: number) => Promise<void>;
}

/**
 * Takes no new work, waits for what runs until the deadline, fails the rest, and closes the server. Connections of
 * clients that do not read may be left: the process is to end now, whatever they do.
 */
export async function shutDown(options: ShutdownOptions): Promise<void> {
  const { drain, closeEngine, server, timeoutMs, log, after = afterMs } = options;
  const idle = drain.begin();
  log.add("info", "draining", { requests: drain.working, timeout_ms: timeoutMs });
  // Until there is no work left it goes on listening, so that probes are told. Work is over when its reply is out, so
  // connections that stay open then, unused or half a request old, are nothing to wait for.
  await Promise.race([idle, after(timeoutMs)]);
  if (drain.working > 0) log.add("warn", "drain deadline passed", { requests: drain.working });
  await closeEngine();
  await Promise.race([server.shutdown(), after(LAST_WORDS_MS)]);
  log.add("info", "stopped");
}

function afterMs(ms: number): Promise<void> {
  return new Promise((resolve) => Deno.unrefTimer(setTimeout(resolve, ms)));
}
