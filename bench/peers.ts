// The peers we are measured against: each a process of its own, given the same weights, threads and cases, run one after
// the other. A peer that cannot run becomes a note saying why and what installs it.
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const PEER_NAMES = ["pytorch", "transformers.js", "ort-webgpu"] as const;
export type PeerName = (typeof PEER_NAMES)[number];

export interface PeerTiming {
  readonly peer: PeerName;
  readonly version: string;
  /** Storage and, for PyTorch on a GPU, how the step is launched. */
  readonly dtype: string;
  readonly batch: number;
  readonly context: number;
  readonly decodeMs: number;
  readonly prefillMs: number;
}

export interface PeerOptions {
  readonly model: string;
  readonly python: string;
  readonly device: "cpu" | "gpu";
  readonly threads: number;
  readonly batches: readonly number[];
  readonly contexts: readonly number[];
}

/** A folder with the weights in the form a peer reads, and what failed on the way. */
export class PeerBench implements AsyncDisposable {
  readonly #options: PeerOptions;
  readonly #folder: string;

  private constructor(options: PeerOptions, folder: string) {
    this.#options = options;
    this.#folder = folder;
  }

  static async create(options: PeerOptions): Promise<PeerBench> {
    return new PeerBench(options, await Deno.makeTempDir({ prefix: "hyades-bench-" }));
  }

  /**
   * Measures one peer.
   * @throws {Error} saying what is missing and how to install it
   */
  async measure(name: PeerName): Promise<PeerTiming[]> {
    switch (name) {
      case "pytorch":
        return await this.#pytorch();
      case "transformers.js":
        return await this.#onnxPeer(name, "transformers_js.ts", ["fp32", "q8"], ["--no-lock"]);
      case "ort-webgpu":
        return await this.#onnxPeer(name, "ort_webgpu.ts", ["fp16"], []);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }

  async #pytorch(): Promise<PeerTiming[]> {
    const { python, model, device, threads, batches, contexts } = this.#options;
    await this.#requirePython("torch", "transformers", "safetensors");
    await run(python, [script("checkpoint.py"), model, this.#folder]);
    const cases = ["--batch", ...batches.map(String), "--context", ...contexts.map(String)];
    const peer = device === "cpu"
      ? [script("pytorch_decode.py"), this.#folder, "--threads", String(threads), ...cases]
      : [script("pytorch_gpu.py"), this.#folder, ...cases];
    return parseTimings(await run(python, peer));
  }

  async #onnxPeer(
    name: PeerName,
    file: string,
    dtypes: readonly string[],
    denoFlags: readonly string[],
  ): Promise<PeerTiming[]> {
    const { python, model, threads, batches, contexts } = this.#options;
    await this.#requirePython("torch", "safetensors", "onnx", "onnxruntime");
    await run(python, [script("export_onnx.py"), model, this.#folder, "--dtypes", ...dtypes]);
    const cases = ["--batch", batches.join(","), "--context", contexts.join(",")];
    const args = [this.#folder, "--threads", String(threads), ...cases, "--dtype", dtypes.join(",")];
    const flags = ["run", "--allow-all", ...denoFlags];
    try {
      return parseTimings(await run(Deno.execPath(), [...flags, script(file), ...args]));
    } catch (cause) {
      const install = `deno cache ${denoFlags.join(" ")} bench/peers/${file}`.replace("  ", " ");
      throw new Error(`${name} failed (a missing package is fetched by: ${install}): ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  async #requirePython(...modules: string[]): Promise<void> {
    const { python } = this.#options;
    try {
      await run(python, ["-c", `import ${modules.join(", ")}`]);
    } catch (cause) {
      const install = `${python} -m pip install ${modules.join(" ")}`;
      throw new Error(`Python packages are missing: ${install} (or name another Python with --python)`, {
        cause,
      });
    }
  }
}

/** Standard output of a command. @throws {Error} with the last lines of its standard error */
async function run(command: string, args: string[]): Promise<string> {
  const { success, code, stdout, stderr } = await new Deno.Command(command, { args }).output();
  if (success) return new TextDecoder().decode(stdout);
  const lines = new TextDecoder().decode(stderr).trim().split("\n").slice(-4).join("\n");
  throw new Error(`${command} ${args[0]} exited with ${code}: ${lines}`);
}

/** Lines that are JSON objects; a peer's library may print others between them. */
function parseTimings(output: string): PeerTiming[] {
  return output.split("\n").filter((line) => line.startsWith("{")).map((line) => {
    const { decode_ms: decodeMs, prefill_ms: prefillMs, ...rest } = JSON.parse(line);
    return { ...rest, decodeMs, prefillMs };
  });
}

function script(name: string): string {
  return join(fileURLToPath(new URL("./peers/", import.meta.url)), name);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
