// Places in the memory that the CPU kernels share, given out before the memory exists, so that it can be made as large as
// they need together.
import { MAX_CPU_MEMORY_BYTES } from "../device/cpu_threads.ts";

/** A cache line. */
const ALIGNMENT = 64;

export class CpuArena {
  #bytes: number;

  /** @param reserved bytes at the start that are spoken for */
  constructor(reserved: number) {
    this.#bytes = align(reserved);
  }

  /** Bytes given out so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Address of `bytes` bytes; a vector read may run over their end. */
  take(bytes: number): number {
    const address = this.#bytes;
    this.#bytes = align(address + bytes + ALIGNMENT);
    return address;
  }

  /** @throws {RangeError} saying how far the model is from fitting */
  requireRoom(): void {
    if (this.#bytes <= MAX_CPU_MEMORY_BYTES) return;
    throw new RangeError(
      `Cannot load model: on the CPU weights, KV cache and activations together may take ${MAX_CPU_MEMORY_BYTES} bytes, ` +
        `this model needs ${this.#bytes}; lower --kv-memory, quantise the model (deno task quantize) or take a GPU`,
    );
  }
}

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
