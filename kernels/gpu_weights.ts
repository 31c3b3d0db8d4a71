// Brings a checkpoint's tensors onto the GPU, piece by piece: no tensor is ever whole in host memory unless its rows
// must be reordered, and what is stored as the GPU wants it is read straight into the memory that it is copied from.
// Decides how a matrix is stored and cut into bindable shards; knows no op.
import type { GpuDevice } from "../device/gpu_device.ts";
import type { WeightUse } from "./graph_weights.ts";
import { type GpuMatrix, type MatrixShard, rowStride, type StorageType } from "./gpu_op.ts";
import { GpuUploads, PIECE_BYTES } from "./gpu_uploads.ts";
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
/** Tensors under way: while one ends, or is small, others keep the readers busy. */
const TENSORS_AT_ONCE = 3;
/** Shards hold a multiple of this many rows, so that tiled kernels keep whole tiles. */
const SHARD_ROWS = 64;

/** A bf16 value was beyond f16's range: the matrix must be stored as f32. */
class F16OverflowError extends RangeError {}

export interface LoadWeightsOptions {
  /** Storage of float matrices; as the checkpoint has them when undefined (bf16 becomes f16 where its range allows). */
  readonly storage?: "f32" | "f16";
  /** Whether pieces are read into mapped memory; as suits the provider when undefined (`bench/gpu/load.ts` compares). */
  readonly mapped?: boolean;
  /** Called with the bytes of checkpoint uploaded so far and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** One matrix on its way. */
interface MatrixUpload {
  readonly type: StorageType;
  readonly source: TensorSource;
  readonly ref: WeightRef;
  readonly uploads: GpuUploads;
  /** Told the bytes of checkpoint that are done. */
  readonly report: (bytes: number) => void;
}

export class GpuWeights implements Disposable {
  readonly #gpu: GpuDevice;
  readonly #matrices = new Map<string, GpuMatrix>();
  readonly #vectors = new Map<string, GPUBuffer>();
  readonly #filters = new Map<string, Float32Array>();

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
    using uploads = new GpuUploads(gpu, options.mapped);
    try {
      await forEachOf(uses, TENSORS_AT_ONCE, async ({ ref, role }) => {
        if (role === "vector") {
          weights.#vectors.set(ref.name, weights.#upload(ref.name, await loadFloat32(source, ref)));
          return report(storedBytes(source, ref));
        }
        if (role === "filter") {
          weights.#filters.set(ref.name, await loadFloat32(source, ref));
          return report(storedBytes(source, ref));
        }
        const type = storageOf(requireTensor(source, ref).dtype, role, options.storage);
        weights.#matrices.set(ref.name, await weights.#uploadMatrix({ type, source, ref, uploads, report }));
      });
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

  /** In host memory, until `forgetFilters`. */
  filter(ref: WeightRef): Float32Array {
    return required(this.#filters, ref);
  }

  forgetFilters(): void {
    this.#filters.clear();
  }

  [Symbol.dispose](): void {
    for (const { shards, scales } of this.#matrices.values()) {
      destroyShards(shards);
      scales?.destroy();
    }
    for (const buffer of this.#vectors.values()) buffer.destroy();
  }

  async #uploadMatrix(upload: MatrixUpload): Promise<GpuMatrix> {
    try {
      return await this.#uploadMatrixAs(upload);
    } catch (error) {
      if (!(error instanceof F16OverflowError)) throw error;
      return await this.#uploadMatrixAs({ ...upload, type: "f32", report: () => {} });
    }
  }

  async #uploadMatrixAs({ type, source, ref, uploads, report }: MatrixUpload): Promise<GpuMatrix> {
    const { dtype, shape } = requireTensor(source, ref), [rows, columns] = ref.shape;
    const multipliers = dtype === "I4" ? await orderedMultipliers(source, ref) : undefined;
    const multipliersOf = (first: number, last: number) =>
      multipliers!.subarray(first * groupsOf(columns), last * groupsOf(columns));
    const stride = rowStride(columns), strideBytes = stride * BYTES_PER_STORED[type];
    const shards = this.#createShards(ref.name, rows, strideBytes);
    const reorder = ref.rowOrder && await source.readRows(ref.name, 0, rows);
    const rowBytes = shape[1] * BYTES_PER_ELEMENT[dtype];
    const asStored = !reorder && storedAs(dtype) === type && rowBytes === strideBytes;
    async function fill(piece: Uint8Array<ArrayBuffer>, first: number, last: number): Promise<void> {
      if (asStored) return await source.readRowsInto(ref.name, first, last, piece);
      const raw = reorder
        ? pickRows(reorder, ref.rowOrder!.subarray(first, last), rowBytes)
        : await source.readRows(ref.name, first, last);
      const values = type === "i4" ? raw : padRows(
        dtype === "I4" ? unpackInt4(raw, multipliersOf(first, last), columns) : convert(raw, dtype, type),
        last - first,
        stride,
      );
      piece.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
    try {
      const pieces = shards.flatMap((shard) => piecesOf(shard, Math.floor(PIECE_BYTES / strideBytes)));
      await allSettled(pieces.map(async ({ buffer, at, first, last }) => {
        const numBytes = (last - first) * strideBytes;
        await uploads.put(buffer, at * strideBytes, numBytes, (piece) => fill(piece, first, last));
        report((last - first) * rowBytes);
      }));
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
    if (bytesPerRow > PIECE_BYTES) {
      throw new RangeError(
        `Cannot load model: a row of "${name}" must take at most ${PIECE_BYTES} bytes, received ${bytesPerRow}`,
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

/** The type in which the GPU reads such bytes as they are. */
function storedAs(dtype: TensorDtype): StorageType | undefined {
  return ({ F32: "f32", F16: "f16", BF16: undefined, I8: "i8", I4: "i4" } as const)[dtype];
}

/** Rows [first, last) of the matrix, which lie in `buffer` from its row `at` on. */
interface Piece {
  readonly buffer: GPUBuffer;
  readonly at: number;
  readonly first: number;
  readonly last: number;
}

function piecesOf({ buffer, firstRow, numRows }: MatrixShard, mostRows: number): Piece[] {
  const pieces: Piece[] = [];
  for (let at = 0; at < numRows; at += mostRows) {
    pieces.push({ buffer, at, first: firstRow + at, last: firstRow + Math.min(numRows, at + mostRows) });
  }
  return pieces;
}

/** Does `action` for all items in their order, at most `atOnce` at a time. After a failure none is begun. */
async function forEachOf<T>(items: Iterable<T>, atOnce: number, action: (item: T) => Promise<void>) {
  const rest = items[Symbol.iterator]();
  let failed = false;
  async function work() {
    for (let next = rest.next(); !next.done && !failed; next = rest.next()) {
      await action(next.value).catch((error) => {
        failed = true;
        throw error;
      });
    }
  }
  await allSettled(Array.from({ length: atOnce }, work));
}

/** As Promise.all, but nothing is under way any more when it throws. */
async function allSettled(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) {
    if (result.status === "rejected") throw result.reason;
  }
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
