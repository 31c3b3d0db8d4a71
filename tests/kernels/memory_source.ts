// A checkpoint in memory: tensors that a test makes up, rounded to the storage type that it wants them in.
import { GROUP, groupsOf, MOST_MULTIPLIER } from "../../kernels/int4.ts";
import {
  BYTES_PER_ELEMENT,
  CopyingSource,
  multiplierName,
  scaleName,
  type TensorDtype,
  type TensorInfo,
  type WeightRef,
} from "../../kernels/tensor_source.ts";

interface StoredTensor extends TensorInfo {
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export class MemorySource extends CopyingSource {
  readonly #tensors = new Map<string, StoredTensor>();

  /**
   * Stores `values` [shape] rounded to `dtype` and names them: I8 with one scale per row, largest element = 127; I4 with
   * multipliers of either sign, the largest that is needed = 15, and a last group that is filled up.
   */
  add(name: string, shape: readonly number[], values: Float32Array, dtype: TensorDtype = "F32"): WeightRef {
    if (dtype === "I8") {
      const { quantized, scales } = quantizeRows(values, shape[0]);
      this.#store(name, dtype, shape, quantized);
      this.#store(scaleName(name), "F32", [shape[0]], scales);
    } else if (dtype === "I4") {
      const { packed, multipliers, scales } = quantizeGroups(values, shape[0]);
      const groups = groupsOf(shape[1]);
      this.#store(name, dtype, [shape[0], groups * GROUP], packed);
      this.#store(multiplierName(name), "I8", [shape[0], groups], multipliers);
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

function quantizeGroups(values: Float32Array, rows: number) {
  const width = values.length / rows, groups = groupsOf(width);
  const packed = new Uint8Array(rows * groups * GROUP / 2), multipliers = new Int8Array(rows * groups);
  const scales = new Float32Array(rows);
  const largest = (part: Float32Array) => part.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  for (let r = 0; r < rows; r++) {
    const row = values.subarray(r * width, (r + 1) * width);
    scales[r] = largest(row) / (7 * MOST_MULTIPLIER) || 1;
    for (let g = 0; g < groups; g++) {
      const group = row.subarray(g * GROUP, (g + 1) * GROUP), at = r * groups + g;
      // Rounding may leave the largest multiplier a hair above 15.
      const needed = Math.ceil(largest(group) / (7 * scales[r]) - 1e-5);
      multipliers[at] = Math.max(1, needed) * (at % 2 ? -1 : 1);
      group.forEach((x, k) => {
        const q = Math.max(-8, Math.min(7, Math.round(x / (multipliers[at] * scales[r]))));
        packed[(at * GROUP + k) >> 1] |= (q & 15) << (k % 2 * 4);
      });
    }
  }
  return { packed, multipliers, scales };
}
