// A checkpoint of f32 tensors made up as they are named, for benchmarks of operators.
import { CopyingSource, type TensorInfo, type WeightRef } from "../../kernels/tensor_source.ts";

interface Stored extends TensorInfo {
  readonly values: Float32Array<ArrayBuffer>;
}

export class RandomVectors extends CopyingSource {
  readonly #tensors = new Map<string, Stored>();

  /** @param value of the element at a flat index, called in order */
  add(name: string, shape: readonly number[], value: (at: number) => number): WeightRef {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let at = 0; at < values.length; at++) values[at] = value(at);
    this.#tensors.set(name, { name, dtype: "F32", shape, values });
    return { name, shape };
  }

  values(name: string): Float32Array<ArrayBuffer> {
    return this.#tensors.get(name)!.values;
  }

  find(name: string): TensorInfo | undefined {
    return this.#tensors.get(name);
  }

  readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const { values, shape } = this.#tensors.get(name)!, rowBytes = values.byteLength / shape[0];
    return Promise.resolve(new Uint8Array(values.buffer).slice(start * rowBytes, end * rowBytes));
  }
}
