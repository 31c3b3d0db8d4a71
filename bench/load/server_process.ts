// A server as a process of its own, on a free port, for as long as a load lasts: this repository's, or any other's by its
// command line.
import { fromFileUrl } from "std/path/mod.js";
import { pause } from "./counter_sampler.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
/** By then the load is over; but a connection that its client never used would hold the server up for longer. */
const QUICK_STOP = ["--shutdown-timeout", "1"];
const STOP_MS = 15_000;
/** Other servers are asked this often whether they are ready, and given this long: large models load slowly. */
const READY_POLL_MS = 100, READY_MS = 300_000;
/** The server's last words, for a message; all of it would be without bound. */
const MAX_PRINTED = 100_000;

export class ServerProcess implements AsyncDisposable {
  readonly url: string;
  readonly #process: Deno.ChildProcess;
  readonly #output: Output;

  private constructor(url: string, process: Deno.ChildProcess, output: Output) {
    this.url = url;
    this.#process = process;
    this.#output = output;
  }

  /**
   * This repository's server. Returns when the model is loaded.
   * @param flags of `serve`, parted by blanks
   * @throws {Error} the server ended before that, with what it printed
   */
  static async startOwn(flags: string): Promise<ServerProcess> {
    const serve = ["run", "--no-check", "-P=serve", "main.ts", "serve", "--port", "0", ...QUICK_STOP];
    const { process, output } = spawn(Deno.execPath(), [...serve, ...words(flags)]);
    const url = await output.find(/Listening on (http:\/\/\S+)/);
    if (url !== undefined) return new ServerProcess(url, process, output);
    throw new Error(`Cannot put a load on \`serve ${flags}\`: it ended at its start\n${output.text.trim()}`);
  }

  /**
   * Any server that answers GET /health with 200 once it is ready, as llama.cpp's, vLLM and TGI do.
   * @param command parted by blanks, run in this repository's folder; {port} and {clients} are filled in
   * @param clients to be served at once, for servers that must know
   * @throws {Error} there is no such program, or it ended before it was ready, or is not in time
   */
  static async startCommand(command: string, clients: number): Promise<ServerProcess> {
    const port = freePort();
    const filled = command.replaceAll("{port}", `${port}`).replaceAll("{clients}", `${clients}`);
    const [program, ...args] = words(filled);
    const { process, output } = spawn(program, args);
    const server = new ServerProcess(`http://127.0.0.1:${port}`, process, output);
    if (await server.#becomesReady()) return server;
    await server[Symbol.asyncDispose]();
    throw new Error(
      `Cannot put a load on \`${filled}\`: it ended, or had not answered GET /health on port ${port} with 200 after ` +
        `${READY_MS / 1000} s\n${output.text.trim()}`,
    );
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Lines that tell of an error that nobody handled, or that the server itself calls one. */
  get errors(): string[] {
    return this.#output.text.split("\n").filter((line) => /"level":"error"|Uncaught|panicked/.test(line));
  }

  /** SIGTERM, and SIGKILL where that does not do. */
  async [Symbol.asyncDispose](): Promise<void> {
    const stopped = new AbortController();
    const ended = this.#process.status.then(() => stopped.abort());
    this.#signal("SIGTERM");
    await pause(STOP_MS, stopped.signal);
    this.#signal("SIGKILL");
    await ended;
    await this.#output.read;
  }

  async #becomesReady(): Promise<boolean> {
    const until = performance.now() + READY_MS;
    while (performance.now() < until && !this.#output.ended) {
      const response = await fetch(`${this.url}/health`).catch(() => undefined);
      await response?.body?.cancel();
      if (response?.ok) return true;
      await pause(READY_POLL_MS);
    }
    return false;
  }

  #signal(name: "SIGTERM" | "SIGKILL"): void {
    try {
      this.#process.kill(name);
    } catch {
      // It has ended.
    }
  }
}

function spawn(program: string, args: string[]): { process: Deno.ChildProcess; output: Output } {
  const process = new Deno.Command(program, {
    args,
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  return { process, output: new Output(process.stderr) };
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(Boolean);
}

/** Free now; whoever else asks for any port may get it before the server does. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** What a process prints, read to the end so that it never blocks on a full pipe. */
class Output {
  text = "";
  ended = false;
  readonly read: Promise<void>;
  #changed = Promise.withResolvers<void>();

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.read = this.#readAll(stream);
  }

  /** The pattern's first group as soon as it is printed; undefined when the process ends without. */
  async find(pattern: RegExp): Promise<string | undefined> {
    for (;;) {
      const found = pattern.exec(this.text)?.[1];
      if (found !== undefined || this.ended) return found;
      await this.#changed.promise;
    }
  }

  async #readAll(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      this.text = (this.text + text).slice(-MAX_PRINTED);
      this.#wake();
    }
    this.ended = true;
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
