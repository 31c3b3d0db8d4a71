// A checkpoint under other names, for tests of what a loader makes of them.
import type { TensorInfo, TensorSource } from "../../kernels/tensor_source.ts";
import type { SafetensorsSource } from "../../models/safetensors.ts";

export class RenamedSource implements TensorSource {
  readonly #source: SafetensorsSource;
  readonly #storedName: ReadonlyMap<string, string>;

  /** @param rename new name of each stored tensor; "" leaves it out */
  constructor(source: SafetensorsSource, rename: (name: string) => string) {
    this.#source = source;
    this.#storedName = new Map(
      source.names.map((name) => [rename(name), name] as const).filter(([name]) => name !== ""),
    );
  }

  find(name: string): TensorInfo | undefined {
    const stored = this.#storedName.get(name);
    return stored === undefined ? undefined : { ...this.#source.find(stored)!, name };
  }

  readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    return this.#source.readRows(this.#stored(name), start, end);
  }

  readRowsInto(name: string, start: number, end: number, target: Uint8Array<ArrayBuffer>): Promise<void> {
    return this.#source.readRowsInto(this.#stored(name), start, end, target);
  }

  #stored(name: string): string {
    const stored = this.#storedName.get(name);
    if (stored === undefined) throw new TypeError(`No tensor "${name}"`);
    return stored;
  }
}
