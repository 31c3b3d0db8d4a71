// A checkpoint in memory: tensors that a test makes up, rounded to the storage type that it wants them in.
import {
  BYTES_PER_ELEMENT,
  scaleName,
  type TensorDtype,
  type TensorInfo,
  type TensorSource,
  type WeightRef,
} from "../../kernels/tensor_source.ts";

interface StoredTensor extends TensorInfo {
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export class MemorySource implements TensorSource {
  readonly #tensors = new Map<string, StoredTensor>();

  /** Stores `values` [shape] rounded to `dtype` (I8: with one scale per row, largest element = 127) and names them. */
  add(name: string, shape: readonly number[], values: Float32Array, dtype: TensorDtype = "F32"): WeightRef {
    if (dtype === "I8") {
      const { quantized, scales } = quantizeRows(values, shape[0]);
      this.#store(name, dtype, shape, quantized);
      this.#store(scaleName(name), "F32", [shape[0]], scales);
    } else {
      this.#store(name, dtype, shape, encode(values, dtype));
    }
    return { name, shape };
  }

  find(name: string): TensorInfo | undefined {
    return this.#tensors.get(name);
  }

  readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const tensor = this.#tensors.get(name);
    if (!tensor) return Promise.reject(new TypeError(`No tensor "${name}"`));
    const rowElements = tensor.shape.slice(1).reduce((a, b) => a * b, 1);
    const rowBytes = rowElements * BYTES_PER_ELEMENT[tensor.dtype];
    return Promise.resolve(tensor.bytes.slice(start * rowBytes, end * rowBytes));
  }

  #store(name: string, dtype: TensorDtype, shape: readonly number[], values: ArrayBufferView<ArrayBuffer>) {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.#tensors.set(name, { name, dtype, shape, bytes });
  }
}

function encode(values: Float32Array, dtype: "F32" | "F16" | "BF16"): ArrayBufferView<ArrayBuffer> {
  switch (dtype) {
    case "F32":
      return Float32Array.from(values);
    case "F16":
      return Float16Array.from(values);
    case "BF16":
      return Uint16Array.from(new Uint32Array(Float32Array.from(values).buffer), (bits) => bits >>> 16);
  }
}

function quantizeRows(values: Float32Array, rows: number) {
  const width = values.length / rows;
  const quantized = new Int8Array(values.length), scales = new Float32Array(rows);
  for (let r = 0; r < rows; r++) {
    const row = values.subarray(r * width, (r + 1) * width);
    scales[r] = row.reduce((most, x) => Math.max(most, Math.abs(x)), 0) / 127 || 1;
    quantized.set(row.map((x) => Math.round(x / scales[r])), r * width);
  }
  return { quantized, scales };
}
