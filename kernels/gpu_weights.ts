// Brings a checkpoint's tensors onto the GPU, piece by piece: no tensor is ever whole in host memory unless its rows
// must be reordered. Decides how a matrix is stored and cut into bindable shards; knows no op.
import type { GpuDevice } from "../device/gpu_device.ts";
import type { WeightUse } from "./graph_weights.ts";
import { type GpuMatrix, type MatrixShard, rowStride, type StorageType } from "./gpu_op.ts";
import { groupsOf, unpackInt4 } from "./int4.ts";
import {
  BYTES_PER_ELEMENT,
  loadFloat32,
  readMultipliers,
  requireTensor,
  scaleName,
  type TensorDtype,
  type TensorSource,
  toFloat32,
  type WeightRef,
} from "./tensor_source.ts";

const BYTES_PER_STORED: Record<StorageType, number> = { f32: 4, f16: 2, i8: 1, i4: 0.5 };
/** Host memory that one upload piece may take. */
const PIECE_BYTES = 16 * 1024 * 1024;
/** Shards hold a multiple of this many rows, so that tiled kernels keep whole tiles. */
const SHARD_ROWS = 64;

/** A bf16 value was beyond f16's range: the matrix must be stored as f32. */
class F16OverflowError extends RangeError {}

export interface LoadWeightsOptions {
  /** Storage of float matrices; as the checkpoint has them when undefined (bf16 becomes f16 where its range allows). */
  readonly storage?: "f32" | "f16";
  /** Called with the bytes of checkpoint uploaded so far and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export class GpuWeights implements Disposable {
  readonly #gpu: GpuDevice;
  readonly #matrices = new Map<string, GpuMatrix>();
  readonly #vectors = new Map<string, GPUBuffer>();

  private constructor(gpu: GpuDevice) {
    this.#gpu = gpu;
  }

  /** Uploads every weight, each of which stands in `uses` once. @throws {TypeError} on a missing or misshapen tensor */
  static async load(
    gpu: GpuDevice,
    source: TensorSource,
    uses: readonly WeightUse[],
    options: LoadWeightsOptions = {},
  ): Promise<GpuWeights> {
    const total = uses.reduce((sum, { ref }) => sum + storedBytes(source, ref), 0);
    let done = 0;
    const weights = new GpuWeights(gpu);
    const report = (bytes: number) => options.onProgress?.(done += bytes, total);
    try {
      for (const { ref, role } of uses) {
        if (role !== "vector") {
          const type = storageOf(requireTensor(source, ref).dtype, role, options.storage);
          weights.#matrices.set(ref.name, await weights.#uploadMatrix(type, source, ref, report));
        } else {
          weights.#vectors.set(ref.name, weights.#upload(ref.name, await loadFloat32(source, ref)));
          report(storedBytes(source, ref));
        }
      }
      return weights;
    } catch (error) {
      weights[Symbol.dispose]();
      throw error;
    }
  }

  matrix(ref: WeightRef): GpuMatrix {
    return required(this.#matrices, ref);
  }

  vector(ref: WeightRef): GPUBuffer {
    return required(this.#vectors, ref);
  }

  [Symbol.dispose](): void {
    for (const { shards, scales } of this.#matrices.values()) {
      destroyShards(shards);
      scales?.destroy();
    }
    for (const buffer of this.#vectors.values()) buffer.destroy();
  }

  async #uploadMatrix(
    type: StorageType,
    source: TensorSource,
    ref: WeightRef,
    report: (bytes: number) => void,
  ): Promise<GpuMatrix> {
    try {
      return await this.#uploadMatrixAs(type, source, ref, report);
    } catch (error) {
      if (!(error instanceof F16OverflowError)) throw error;
      return await this.#uploadMatrixAs("f32", source, ref, () => {});
    }
  }

  async #uploadMatrixAs(
    type: StorageType,
    source: TensorSource,
    ref: WeightRef,
    report: (bytes: number) => void,
  ): Promise<GpuMatrix> {
    const { dtype, shape } = requireTensor(source, ref), [rows, columns] = ref.shape;
    const multipliers = dtype === "I4" ? await orderedMultipliers(source, ref) : undefined;
    const multipliersOf = (first: number, last: number) =>
      multipliers!.subarray(first * groupsOf(columns), last * groupsOf(columns));
    const shards = this.#createShards(ref.name, rows, rowStride(columns) * BYTES_PER_STORED[type]);
    const reorder = ref.rowOrder && await source.readRows(ref.name, 0, rows);
    const rowBytes = shape[1] * BYTES_PER_ELEMENT[dtype];
    const pieceRows = Math.max(1, Math.floor(PIECE_BYTES / (rowStride(columns) * 4)));
    try {
      for (const shard of shards) {
        for (let at = 0; at < shard.numRows; at += pieceRows) {
          const first = shard.firstRow + at, last = first + Math.min(pieceRows, shard.numRows - at);
          const raw = reorder
            ? pickRows(reorder, ref.rowOrder!.subarray(first, last), rowBytes)
            : await source.readRows(ref.name, first, last);
          const stored = type === "i4" ? raw : padRows(
            dtype === "I4" ? unpackInt4(raw, multipliersOf(first, last), columns) : convert(raw, dtype, type),
            last - first,
            rowStride(columns),
          );
          this.#write(shard.buffer, at * rowStride(columns) * BYTES_PER_STORED[type], stored);
          report(raw.byteLength);
        }
      }
    } catch (error) {
      destroyShards(shards);
      throw error;
    }
    if (type === "f32" || type === "f16") return { type, rows, columns, shards };
    const scales = await this.#uploadScales(source, ref);
    if (type === "i8") return { type, rows, columns, shards, scales };
    const withMultipliers = shards.map((shard) => {
      const values = multipliersOf(shard.firstRow, shard.firstRow + shard.numRows);
      const padded = padRows(values, shard.numRows, Math.ceil(groupsOf(columns) / 4) * 4);
      return { ...shard, multipliers: this.#upload(`${ref.name}[${shard.firstRow}] multipliers`, padded) };
    });
    return { type, rows, columns, shards: withMultipliers, scales };
  }

  async #uploadScales(source: TensorSource, ref: WeightRef): Promise<GPUBuffer> {
    const scaleRef = { name: scaleName(ref.name), shape: [ref.shape[0]] };
    return this.#upload(
      scaleRef.name,
      await loadFloat32(source, ref.rowOrder ? { ...scaleRef, rowOrder: ref.rowOrder } : scaleRef),
    );
  }

  #createShards(name: string, rows: number, bytesPerRow: number): MatrixShard[] {
    const { maxBindingBytes, maxBufferBytes } = this.#gpu.caps;
    const fitting = Math.floor(Math.min(maxBindingBytes, maxBufferBytes) / bytesPerRow);
    if (fitting < 1) {
      throw new RangeError(
        `Cannot load model: a row of "${name}" takes ${bytesPerRow} bytes, more than this adapter can bind (${maxBindingBytes})`,
      );
    }
    const perShard = fitting > SHARD_ROWS ? fitting - fitting % SHARD_ROWS : fitting;
    const shards: MatrixShard[] = [];
    for (let firstRow = 0; firstRow < rows; firstRow += perShard) {
      const numRows = Math.min(perShard, rows - firstRow);
      const buffer = this.#gpu.device.createBuffer({
        label: `${name}[${firstRow}]`,
        size: numRows * bytesPerRow,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
      });
      shards.push({ buffer, firstRow, numRows });
    }
    return shards;
  }

  #upload(label: string, values: Stored): GPUBuffer {
    const buffer = this.#gpu.device.createBuffer({
      label,
      size: Math.max(16, values.byteLength),
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
    });
    this.#write(buffer, 0, values);
    return buffer;
  }

  /** As bytes: Dawn divides by the element size of the typed arrays it knows, and Float16Array is none of them. */
  #write(buffer: GPUBuffer, offset: number, values: Stored): void {
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    this.#gpu.device.queue.writeBuffer(buffer, offset, bytes);
  }
}

function storedBytes(source: TensorSource, ref: WeightRef): number {
  const { dtype, shape } = requireTensor(source, ref);
  return shape.reduce((a, b) => a * b, 1) * BYTES_PER_ELEMENT[dtype];
}

/** int4 is for products; tables that rows are looked up in are small beside them, and become the int8 that they stand for. */
function storageOf(dtype: TensorDtype, role: WeightUse["role"], wanted?: "f32" | "f16"): StorageType {
  if (dtype === "I4") return role === "matrix" ? "i4" : "i8";
  if (dtype === "I8") return "i8";
  return wanted ?? (dtype === "F32" ? "f32" : "f16");
}

async function orderedMultipliers(source: TensorSource, ref: WeightRef): Promise<Int8Array<ArrayBuffer>> {
  const multipliers = await readMultipliers(source, ref, 0, ref.shape[0]);
  if (!ref.rowOrder) return multipliers;
  return new Int8Array(
    pickRows(new Uint8Array(multipliers.buffer), ref.rowOrder, groupsOf(ref.shape[1])).buffer,
  );
}

function destroyShards(shards: readonly MatrixShard[]): void {
  for (const { buffer, multipliers } of shards) {
    buffer.destroy();
    multipliers?.destroy();
  }
}

function required<T>(loaded: Map<string, T>, ref: WeightRef): T {
  const found = loaded.get(ref.name);
  if (!found) throw new TypeError(`Cannot lower graph: weight "${ref.name}" was not loaded in this form`);
  return found;
}

type Stored =
  | Float32Array<ArrayBuffer>
  | Float16Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>;

function convert(
  raw: Uint8Array<ArrayBuffer>,
  dtype: Exclude<TensorDtype, "I4">,
  type: StorageType,
): Stored {
  if (type === "i8") return new Int8Array(raw.buffer, raw.byteOffset, raw.byteLength);
  if (type === "f32") return toFloat32(raw, dtype);
  if (dtype === "F16") return new Float16Array(raw.buffer, raw.byteOffset, raw.byteLength / 2);
  const values = toFloat32(raw, dtype);
  const halves = Float16Array.from(values);
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(halves[i]) && Number.isFinite(values[i])) {
      throw new F16OverflowError("beyond f16's range");
    }
  }
  return halves;
}

/** Spreads tightly packed rows to a stride; the gap is zero. */
function padRows(values: Stored, rows: number, stride: number): Stored {
  const columns = values.length / rows;
  if (stride === columns) return values;
  const padded = new (values.constructor as new (length: number) => Stored)(rows * stride);
  for (let r = 0; r < rows; r++) padded.set(values.subarray(r * columns, (r + 1) * columns), r * stride);
  return padded;
}

function pickRows(
  bytes: Uint8Array<ArrayBuffer>,
  order: Uint32Array,
  rowBytes: number,
): Uint8Array<ArrayBuffer> {
  const picked = new Uint8Array(order.length * rowBytes);
  order.forEach((from, to) =>
    picked.set(bytes.subarray(from * rowBytes, (from + 1) * rowBytes), to * rowBytes)
  );
  return picked;
}
