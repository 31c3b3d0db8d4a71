// Where weights come from, as the kernels see it: named tensors that can be read row by row. Knows nothing of
// files; models/safetensors.ts reads them from a checkpoint, tests from memory.
import { GROUP, groupsOf, MOST_MULTIPLIER, unpackInt4 } from "./int4.ts";

/**
 * Storage types a checkpoint may use. `I8` is weight-only: row r of `X` is scaled by `X_scale[r]` (F32). So is `I4`
 * (int4.ts), whose groups have multipliers `X_multiplier` (I8 [rows, groups]) beside that.
 */
export type TensorDtype = "F32" | "F16" | "BF16" | "I8" | "I4";

export const BYTES_PER_ELEMENT: Record<TensorDtype, number> = { F32: 4, F16: 2, BF16: 2, I8: 1, I4: 0.5 };

export interface TensorInfo {
  readonly name: string;
  readonly dtype: TensorDtype;
  /** Of I4: [rows, columns rounded up to whole groups], as the rows are stored. */
  readonly shape: readonly number[];
}

export interface TensorSource {
  /** The tensor's type and shape, or undefined when the checkpoint lacks it. */
  find(name: string): TensorInfo | undefined;
  /** Tensors that this one is computed from, where it is not in the file; none where the configuration is enough. */
  computedFrom?(name: string): readonly WeightRef[] | undefined;
  /** Raw little-endian bytes of rows [start, end) along the first axis, in a buffer of its own (offset 0). */
  readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
  /** The same into `target`, which is as long as they are. Several reads may be under way at once. */
  readRowsInto(name: string, start: number, end: number, target: Uint8Array<ArrayBuffer>): Promise<void>;
}

/** A source whose rows are made as they are read: into a target they are copied. */
export abstract class CopyingSource implements TensorSource {
  abstract find(name: string): TensorInfo | undefined;
  abstract readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;

  async readRowsInto(
    name: string,
    start: number,
    end: number,
    target: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    target.set(await this.readRows(name, start, end));
  }
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

/** @throws {RangeError} when a graph names a weight of another shape than its op takes */
export function requireShape({ name, shape }: WeightRef, ...wanted: number[]): void {
  if (shape.length === wanted.length && wanted.every((n, i) => n === shape[i])) return;
  throw new RangeError(`Cannot build graph: "${name}" must have shape [${wanted}], received [${shape}]`);
}

/** Converts stored bytes to f32, without scales: F32 and F16 as they are, BF16 by a 16-bit shift, I8 to its integers. */
export function toFloat32(
  bytes: Uint8Array<ArrayBuffer>,
  dtype: Exclude<TensorDtype, "I4">,
): Float32Array<ArrayBuffer> {
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

/** The name of the tensor that holds an I8 or I4 tensor's scales, F32 [rows]. */
export function scaleName(name: string): string {
  return `${name}_scale`;
}

/** The name of the tensor that holds an I4 tensor's multipliers, I8 [rows, groups]. */
export function multiplierName(name: string): string {
  return `${name}_multiplier`;
}

/** Whether rows are integers with a scale. */
export function isQuantized(dtype: TensorDtype): dtype is "I8" | "I4" {
  return dtype === "I8" || dtype === "I4";
}

/**
 * Checks that the source holds what `ref` promises.
 * @throws {TypeError} naming the tensor, when it (or its scale) is missing or has another shape.
 */
export function requireTensor(source: TensorSource, ref: WeightRef): TensorInfo {
  const info = source.find(ref.name);
  if (!info) throw new TypeError(`Cannot load model: tensor "${ref.name}" is missing from the checkpoint`);
  const shape = info.dtype === "I4" ? [ref.shape[0], groupsOf(ref.shape[1]) * GROUP] : ref.shape;
  if (!hasShape(info, shape)) {
    throw new TypeError(
      `Cannot load model: tensor "${ref.name}" must have shape [${shape}], received [${info.shape}]`,
    );
  }
  if (isQuantized(info.dtype)) requireBeside(source, info, scaleName(ref.name), "F32", [shape[0]]);
  if (info.dtype === "I4") {
    requireBeside(source, info, multiplierName(ref.name), "I8", [shape[0], shape[1] / GROUP]);
  }
  return info;
}

function hasShape({ shape }: TensorInfo, wanted: readonly number[]): boolean {
  return shape.length === wanted.length && shape.every((n, i) => n === wanted[i]);
}

function requireBeside(
  source: TensorSource,
  { name, dtype }: TensorInfo,
  beside: string,
  besideDtype: TensorDtype,
  shape: readonly number[],
): void {
  const found = source.find(beside);
  if (found?.dtype === besideDtype && hasShape(found, shape)) return;
  throw new TypeError(
    `Cannot load model: ${
      dtype === "I4" ? "int4" : "int8"
    } tensor "${name}" needs "${beside}", ${besideDtype} of shape [${shape}]`,
  );
}

/**
 * Rows [start, end) of an I4 tensor's multipliers.
 * @throws {RangeError} when one is too large, so that products would not fit a byte
 */
export async function readMultipliers(
  source: TensorSource,
  { name, shape }: WeightRef,
  start: number,
  end: number,
): Promise<Int8Array<ArrayBuffer>> {
  const multipliers = new Int8Array((await source.readRows(multiplierName(name), start, end)).buffer);
  const bad = multipliers.findIndex((multiplier) => Math.abs(multiplier) > MOST_MULTIPLIER);
  if (bad >= 0) {
    throw new RangeError(
      `Cannot load model: "${
        multiplierName(name)
      }" must be within -${MOST_MULTIPLIER} to ${MOST_MULTIPLIER}, received ${multipliers[bad]} in row ${
        start + Math.floor(bad / groupsOf(shape[1]))
      }; quantise the model again`,
    );
  }
  return multipliers;
}

/** Rows [start, end) of an I8 or I4 tensor as bytes [rows, columns], before their scales. */
export async function readInt8Rows(
  source: TensorSource,
  ref: WeightRef,
  start: number,
  end: number,
): Promise<Int8Array<ArrayBuffer>> {
  const bytes = await source.readRows(ref.name, start, end);
  if (source.find(ref.name)!.dtype === "I8") return new Int8Array(bytes.buffer);
  return unpackInt4(bytes, await readMultipliers(source, ref, start, end), ref.shape[1]);
}

/** Rows [start, end) in stored order as f32, scales applied. */
export async function readFloat32Rows(
  source: TensorSource,
  ref: WeightRef,
  start: number,
  end: number,
): Promise<Float32Array<ArrayBuffer>> {
  const { dtype } = source.find(ref.name)!;
  if (!isQuantized(dtype)) return toFloat32(await source.readRows(ref.name, start, end), dtype);
  const values = Float32Array.from(await readInt8Rows(source, ref, start, end));
  const scales = toFloat32(await source.readRows(scaleName(ref.name), start, end), "F32");
  const width = values.length / scales.length;
  scales.forEach((scale, row) => {
    for (let i = row * width; i < (row + 1) * width; i++) values[i] *= scale;
  });
  return values;
}

/** Reads one weight whole as f32 [shape], rows reordered and scales applied. */
export async function loadFloat32(source: TensorSource, ref: WeightRef): Promise<Float32Array<ArrayBuffer>> {
  requireTensor(source, ref);
  const width = ref.shape.slice(1).reduce((a, b) => a * b, 1);
  let values = await readFloat32Rows(source, ref, 0, ref.shape[0]);
  if (ref.rowOrder) {
    const stored = values;
    values = new Float32Array(stored.length);
    ref.rowOrder.forEach((from, to) =>
      values.set(stored.subarray(from * width, (from + 1) * width), to * width)
    );
  }
  return values;
}
