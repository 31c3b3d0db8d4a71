// Threads that run one WebAssembly module over one shared memory: the calling thread, and workers that sleep in the
// module between steps. Knows nothing of what the module computes.
import { Worker } from "node:worker_threads";

/** Bytes that a WebAssembly memory can have. */
export const MAX_CPU_MEMORY_BYTES = 2 ** 32;

const PAGE_BYTES = 2 ** 16;

/** What the module exports; it imports `env.memory`. */
export interface CpuModuleExports {
  /** Runs one step, with the other threads helping; returns when all is done. */
  step(): void;
  /** The life of thread `thread` (1 ..); returns after stop(). */
  help(thread: number): void;
  /** Lets every help() return. */
  stop(): void;
}

/** What a worker is started with. */
export interface CpuThreadData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly thread: number;
}

export class CpuThreads implements Disposable {
  readonly memory: WebAssembly.Memory;
  readonly #exports: CpuModuleExports;

  private constructor(memory: WebAssembly.Memory, exports: CpuModuleExports) {
    this.memory = memory;
    this.#exports = exports;
  }

  /**
   * Makes the memory, `bytes` zeros that the system backs as they are touched, and starts `numThreads - 1` workers. They
   * do not keep the process alive.
   * @throws {RangeError} when there is no such memory
   */
  static async open(module: WebAssembly.Module, bytes: number, numThreads: number): Promise<CpuThreads> {
    const memory = openMemory(bytes);
    const instance = await WebAssembly.instantiate(module, { env: { memory } });
    const threads = new CpuThreads(memory, instance.exports as unknown as CpuModuleExports);
    const started = Array.from({ length: numThreads - 1 }, (_, i) => {
      const workerData: CpuThreadData = { module, memory, thread: i + 1 };
      const worker = new Worker(new URL("./cpu_thread_main.ts", import.meta.url), { workerData });
      return new Promise<void>((resolve, reject) => {
        worker.once("message", () => {
          worker.unref();
          resolve();
        });
        worker.once("error", reject);
      });
    });
    try {
      await Promise.all(started);
      return threads;
    } catch (error) {
      threads[Symbol.dispose]();
      throw error;
    }
  }

  step(): void {
    this.#exports.step();
  }

  /** The workers end; the memory goes with the last reference to it. */
  [Symbol.dispose](): void {
    this.#exports.stop();
  }
}

function openMemory(bytes: number): WebAssembly.Memory {
  const pages = Math.ceil(bytes / PAGE_BYTES);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new RangeError(
      `Cannot reserve memory: the system has no ${
        pages * PAGE_BYTES
      } bytes; lower --kv-memory or take a smaller model`,
      { cause },
    );
  }
}
