// Where weights come from, as the kernels see it: named tensors that can be read row by row. Knows nothing of
// files; models/safetensors.ts reads them from a checkpoint, tests from memory.

/** Storage types a checkpoint may use. `I8` is weight-only: row r of `X` is scaled by `X_scale[r]` (F32). */
export type TensorDtype = "F32" | "F16" | "BF16" | "I8";

export const BYTES_PER_ELEMENT: Record<TensorDtype, number> = { F32: 4, F16: 2, BF16: 2, I8: 1 };

export interface TensorInfo {
  readonly name: string;
  readonly dtype: TensorDtype;
  readonly shape: readonly number[];
}

export interface TensorSource {
  /** The tensor's type and shape, or undefined when the checkpoint lacks it. */
  find(name: string): TensorInfo | undefined;
  /** Raw little-endian bytes of rows [start, end) along the first axis, in a buffer of its own (offset 0). */
  readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * A weight as a graph names it. `rowOrder[i]` is the stored row that becomes row i: the one transform a checkpoint's
 * layout has needed so far (per-head interleaved q, k, v).
 */
export interface WeightRef {
  readonly name: string;
  readonly shape: readonly number[];
  readonly rowOrder?: Uint32Array;
}

/** Converts stored bytes to f32, without scales: F32 and F16 as they are, BF16 by a 16-bit shift, I8 to its integers. */
export function toFloat32(bytes: Uint8Array<ArrayBuffer>, dtype: TensorDtype): Float32Array<ArrayBuffer> {
  switch (dtype) {
    case "F32":
      return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    case "F16":
      return Float32Array.from(new Float16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2));
    case "BF16": {
      const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
      const bits = new Uint32Array(halves.length);
      for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
      return new Float32Array(bits.buffer);
    }
    case "I8":
      return Float32Array.from(new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }
}

/** The name of the tensor that holds an I8 tensor's scales, F32 [rows]. */
export function scaleName(name: string): string {
  return `${name}_scale`;
}

/**
 * Checks that the source holds what `ref` promises.
 * @throws {TypeError} naming the tensor, when it (or its scale) is missing or has another shape.
 */
export function requireTensor(source: TensorSource, ref: WeightRef): TensorInfo {
  const info = source.find(ref.name);
  if (!info) throw new TypeError(`Cannot load model: tensor "${ref.name}" is missing from the checkpoint`);
  if (info.shape.length !== ref.shape.length || info.shape.some((n, i) => n !== ref.shape[i])) {
    throw new TypeError(
      `Cannot load model: tensor "${ref.name}" must have shape [${ref.shape}], received [${info.shape}]`,
    );
  }
  if (info.dtype === "I8") {
    const scale = source.find(scaleName(ref.name));
    if (!scale || scale.dtype !== "F32" || scale.shape.length !== 1 || scale.shape[0] !== ref.shape[0]) {
      throw new TypeError(
        `Cannot load model: int8 tensor "${ref.name}" needs "${scaleName(ref.name)}", F32 of shape [${
          ref.shape[0]
        }]`,
      );
    }
  }
  return info;
}

/** Reads one weight whole as f32 [shape], rows reordered and int8 scales applied. */
export async function loadFloat32(source: TensorSource, ref: WeightRef): Promise<Float32Array<ArrayBuffer>> {
  const info = requireTensor(source, ref);
  const rows = ref.shape[0];
  const width = ref.shape.slice(1).reduce((a, b) => a * b, 1);
  let values = toFloat32(await source.readRows(ref.name, 0, rows), info.dtype);
  if (info.dtype === "I8") {
    const scales = toFloat32(await source.readRows(scaleName(ref.name), 0, rows), "F32");
    for (let r = 0; r < rows; r++) {
      for (let c = r * width; c < (r + 1) * width; c++) values[c] *= scales[r];
    }
  }
  if (ref.rowOrder) {
    const stored = values;
    values = new Float32Array(stored.length);
    ref.rowOrder.forEach((from, to) =>
      values.set(stored.subarray(from * width, (from + 1) * width), to * width)
    );
  }
  return values;
}
