// The real server as a process of its own, for tests.
import { fromFileUrl, resolve } from "std/path/mod.js";

const ROOT = resolve(fromFileUrl(new URL("../../", import.meta.url)));
const FIXED_FLAGS = ["--port", "0", "--device", "cpu", "--model", "tests/fixtures/checkpoints/mqa-d40-f32"];

export interface RunningServer extends AsyncDisposable {
  readonly port: number;
  readonly process: Deno.ChildProcess;
  /** What it has written to stderr so far. */
  readonly printed: () => string;
  /** Of a route, from "/" on. */
  readonly url: (path: string) => string;
}

/** Starts `serve` with a tiny model on a free port; returns when it has said where it listens. */
export async function startServer(
  flags: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<RunningServer> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "-P=serve", "main.ts", "serve", ...FIXED_FLAGS, ...flags],
    cwd: ROOT,
    env: { NO_COLOR: "1", HYADES_API_KEY: "", INIT_CWD: ROOT, ...env },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let printed = "";
  const port = Promise.withResolvers<number>();
  const reading = (async () => {
    for await (const text of process.stderr.pipeThrough(new TextDecoderStream())) {
      printed += text;
      const found = /Listening on http:\/\/127\.0\.0\.1:(\d+)|"url":"http:\/\/127\.0\.0\.1:(\d+)"/.exec(
        printed,
      );
      if (found) port.resolve(Number(found[1] ?? found[2]));
    }
    port.reject(new Error(`The server ended before it listened: ${printed}`));
  })();
  port.promise.catch(() => {}); // It is awaited below; after that it may fail in vain.
  const found = await port.promise;
  return {
    port: found,
    process,
    url: (path) => `http://127.0.0.1:${found}${path}`,
    printed: () => printed,
    async [Symbol.asyncDispose]() {
      try {
        process.kill("SIGKILL");
      } catch {
        // It has ended, as it should.
      }
      await process.status;
      await reading;
    },
  };
}
