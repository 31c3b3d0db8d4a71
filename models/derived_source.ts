// A checkpoint with tensors beside its own that are computed from these: filters and state-space models, which files hold
// as the parameters that were trained and kernels read as what those stand for.
import type { TensorInfo, TensorSource, WeightRef } from "../kernels/tensor_source.ts";

export interface DerivedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** The checkpoint's tensors that it is computed from; none where the configuration is enough. */
  readonly from: readonly WeightRef[];
  /** All values, in order; asked for once, when the first of them is read. */
  readonly compute: () => Promise<Float32Array<ArrayBuffer>>;
}

export class DerivedSource implements TensorSource {
  readonly #source: TensorSource;
  readonly #derived: ReadonlyMap<string, DerivedTensor>;
  readonly #values = new Map<string, Promise<Float32Array<ArrayBuffer>>>();

  /** @throws {TypeError} when the source has a tensor of the same name */
  constructor(source: TensorSource, derived: readonly DerivedTensor[]) {
    const taken = derived.find(({ name }) => source.find(name));
    if (taken) {
      throw new TypeError(`Cannot load model: "${taken.name}" must be computed, but the file has one`);
    }
    this.#source = source;
    this.#derived = new Map(derived.map((tensor) => [tensor.name, tensor]));
  }

  find(name: string): TensorInfo | undefined {
    const derived = this.#derived.get(name);
    return derived ? { name, dtype: "F32", shape: derived.shape } : this.#source.find(name);
  }

  computedFrom(name: string): readonly WeightRef[] | undefined {
    return this.#derived.get(name)?.from ?? this.#source.computedFrom?.(name);
  }

  async readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const derived = this.#derived.get(name);
    if (!derived) return await this.#source.readRows(name, start, end);
    return new Uint8Array((await this.#rows(derived, start, end)).slice().buffer);
  }

  async readRowsInto(
    name: string,
    start: number,
    end: number,
    target: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    const derived = this.#derived.get(name);
    if (!derived) return await this.#source.readRowsInto(name, start, end, target);
    const rows = await this.#rows(derived, start, end);
    target.set(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength));
  }

  async #rows(tensor: DerivedTensor, start: number, end: number): Promise<Float32Array<ArrayBuffer>> {
    let values = this.#values.get(tensor.name);
    if (!values) this.#values.set(tensor.name, values = tensor.compute());
    const width = tensor.shape.slice(1).reduce((a, b) => a * b, 1);
    return (await values).subarray(start * width, end * width);
  }
}

/** The same promise to all who ask. */
export function once<Result>(compute: () => Promise<Result>): () => Promise<Result> {
  let result: Promise<Result> | undefined;
  return () => result ??= compute();
}
