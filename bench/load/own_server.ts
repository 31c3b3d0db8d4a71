// This repository's server as a process of its own, on a free port, for as long as a load lasts.
import { fromFileUrl } from "std/path/mod.js";
import { pause } from "./counter_sampler.ts";

const ROOT = fromFileUrl(new URL("../../", import.meta.url));
/** By then the load is over; but a connection that its client never used would hold the server up for longer. */
const QUICK_STOP = ["--shutdown-timeout", "1"];
const STOP_MS = 15_000;
/** The server's last words, for a message; all of it would be without bound. */
const MAX_PRINTED = 100_000;

export class OwnServer implements AsyncDisposable {
  readonly url: string;
  readonly #process: Deno.ChildProcess;
  readonly #output: Output;

  private constructor(url: string, process: Deno.ChildProcess, output: Output) {
    this.url = url;
    this.#process = process;
    this.#output = output;
  }

  /**
   * Returns when the model is loaded.
   * @param flags of `serve`, parted by blanks
   * @throws {Error} the server ended before that, with what it printed
   */
  static async start(flags: string): Promise<OwnServer> {
    const serve = ["run", "--no-check", "-P=serve", "main.ts", "serve", "--port", "0", ...QUICK_STOP];
    const process = new Deno.Command(Deno.execPath(), {
      args: [...serve, ...flags.split(/\s+/).filter(Boolean)],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const output = new Output(process.stderr);
    const url = await output.find(/Listening on (http:\/\/\S+)/);
    if (url !== undefined) return new OwnServer(url, process, output);
    throw new Error(`Cannot put a load on \`serve ${flags}\`: it ended at its start\n${output.text.trim()}`);
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

  #signal(name: "SIGTERM" | "SIGKILL"): void {
    try {
      this.#process.kill(name);
    } catch {
      // It has ended.
    }
  }
}

/** What a process prints, read to the end so that it never blocks on a full pipe. */
class Output {
  text = "";
  readonly read: Promise<void>;
  #changed = Promise.withResolvers<void>();
  #ended = false;

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    this.read = this.#readAll(stream);
  }

  /** The pattern's first group as soon as it is printed; undefined when the process ends without. */
  async find(pattern: RegExp): Promise<string | undefined> {
    for (;;) {
      const found = pattern.exec(this.text)?.[1];
      if (found !== undefined || this.#ended) return found;
      await this.#changed.promise;
    }
  }

  async #readAll(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      this.text = (this.text + text).slice(-MAX_PRINTED);
      this.#wake();
    }
    this.#ended = true;
    this.#wake();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
