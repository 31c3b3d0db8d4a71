// A graph's weights in the CPU kernels' memory: first places for them, then the bytes, read piece by piece and packed as
// the kernels read them: int4 as the int8 that it stands for, since unpacking it in the kernels would take instructions
// where they have none to spare. Knows no file format.
import type { CpuArena } from "./cpu_arena.ts";
import { LIMB_ZERO, PANEL } from "./cpu_layout.ts";
import { type CpuMatrix, rowStride } from "./cpu_op.ts";
import type { WeightUse } from "./graph_weights.ts";
import {
  BYTES_PER_ELEMENT,
  isQuantized,
  loadFloat32,
  readInt8Rows,
  requireTensor,
  scaleName,
  type TensorDtype,
  type TensorSource,
  toFloat32,
  type WeightRef,
} from "./tensor_source.ts";

/** Stored bytes read at once. */
const PIECE_BYTES = 4 * 2 ** 20;

/** Products of 127 and 127 that an i32 can sum. */
const MOST_I8_COLUMNS = 2 ** 17;

export class CpuWeights {
  readonly #uses: readonly WeightUse[];
  readonly #source: TensorSource;
  readonly #matrices = new Map<string, CpuMatrix>();
  readonly #rows = new Map<string, number>();

  /** Takes places for all weights. @throws {TypeError} naming a tensor that is missing or has another shape */
  constructor(uses: readonly WeightUse[], source: TensorSource, arena: CpuArena) {
    this.#uses = uses;
    this.#source = source;
    for (const { ref, role } of uses) {
      const { dtype } = requireTensor(source, ref);
      if (role === "matrix" || role === "embedding") {
        this.#matrices.set(ref.name, placeMatrix(ref, dtype, arena));
      } else this.#rows.set(ref.name, arena.take(numRowsOf(ref) * rowStride(ref.shape.at(-1)!) * 4));
    }
  }

  matrix(ref: WeightRef): CpuMatrix {
    return this.#matrices.get(ref.name)!;
  }

  /** Address of f32 rows: a vector, or a table of positions. */
  rows(ref: WeightRef): number {
    return this.#rows.get(ref.name)!;
  }

  /** @param onProgress called with the share of the elements that are loaded, 0 to 1 */
  async load(memory: ArrayBufferLike, onProgress: (fraction: number) => void): Promise<void> {
    const elementsOf = ({ ref }: WeightUse) => ref.shape.reduce((a, b) => a * b, 1);
    const total = this.#uses.reduce((sum, use) => sum + elementsOf(use), 0);
    let done = 0;
    for (const use of this.#uses) {
      const matrix = this.#matrices.get(use.ref.name);
      if (matrix) await loadMatrix(memory, this.#source, use.ref, matrix);
      else await loadRows(memory, this.#source, use.ref, this.rows(use.ref));
      onProgress((done += elementsOf(use)) / total);
    }
  }
}

function numRowsOf({ shape }: WeightRef): number {
  return shape.length === 1 ? 1 : shape[0];
}

function placeMatrix({ name, shape }: WeightRef, dtype: TensorDtype, arena: CpuArena): CpuMatrix {
  const [rows, columns] = shape, paddedRows = rowStride(rows);
  if (!isQuantized(dtype)) {
    const address = arena.take(paddedRows * columns * 4);
    return { type: "f32", address, rows, columns, scales: 0, sums: 0 };
  }
  if (columns > MOST_I8_COLUMNS) {
    throw new RangeError(
      `Cannot load model: quantised tensor "${name}" may have ${MOST_I8_COLUMNS} columns, received ${columns}; serve the float checkpoint`,
    );
  }
  const address = arena.take(paddedRows * i8Columns(columns));
  const [scales, sums] = [arena.take(paddedRows * 4), arena.take(paddedRows * 4)];
  return { type: "i8", address, rows, columns, scales, sums };
}

/** Columns of an int8 panel: groups of four. */
function i8Columns(columns: number): number {
  return Math.ceil(columns / 4) * 4;
}

async function loadRows(memory: ArrayBufferLike, source: TensorSource, ref: WeightRef, address: number) {
  const values = await loadFloat32(source, ref);
  const width = ref.shape.at(-1)!, stride = rowStride(width), rows = numRowsOf(ref);
  const target = new Float32Array(memory, address, rows * stride);
  for (let row = 0; row < rows; row++) {
    target.set(values.subarray(row * width, (row + 1) * width), row * stride);
  }
}

async function loadMatrix(memory: ArrayBufferLike, source: TensorSource, ref: WeightRef, matrix: CpuMatrix) {
  const { dtype } = requireTensor(source, ref), { rows, columns } = matrix;
  const pieceRows = Math.max(1, Math.floor(PIECE_BYTES / (columns * BYTES_PER_ELEMENT[dtype])));
  const placeOf = placesOf(ref);
  for (let start = 0; start < rows; start += pieceRows) {
    const end = Math.min(rows, start + pieceRows);
    if (isQuantized(dtype)) {
      packI8(memory, matrix, await readInt8Rows(source, ref, start, end), start, placeOf);
    } else {
      packF32(memory, matrix, toFloat32(await source.readRows(ref.name, start, end), dtype), start, placeOf);
    }
  }
  if (!isQuantized(dtype)) return;
  const scales = toFloat32(await source.readRows(scaleName(ref.name), 0, rows), "F32");
  const target = new Float32Array(memory, matrix.scales, rows);
  scales.forEach((scale, row) => target[placeOf(row)] = scale);
}

/** The row of the matrix that a stored row becomes. */
function placesOf({ rowOrder, shape }: WeightRef): (storedRow: number) => number {
  if (!rowOrder) return (row) => row;
  const places = new Uint32Array(shape[0]);
  rowOrder.forEach((stored, row) => places[stored] = row);
  return (row) => places[row];
}

function packI8(
  memory: ArrayBufferLike,
  { address, sums, rows, columns }: CpuMatrix,
  values: Int8Array,
  firstRow: number,
  placeOf: (row: number) => number,
): void {
  const panelBytes = i8Columns(columns) * PANEL, target = new Int8Array(memory, address);
  const rowSums = new Int32Array(memory, sums, rows);
  for (let at = 0, stored = firstRow; at < values.length; stored++) {
    const row = placeOf(stored);
    const start = Math.floor(row / PANEL) * panelBytes + (row % PANEL) * 4;
    let sum = 0;
    for (let column = 0; column < columns; column++, at++) {
      const value = values[at];
      target[start + (column >> 2) * (4 * PANEL) + (column & 3)] = value;
      sum += value;
    }
    rowSums[row] = LIMB_ZERO * sum;
  }
}

function packF32(
  memory: ArrayBufferLike,
  { address, columns }: CpuMatrix,
  values: Float32Array,
  firstRow: number,
  placeOf: (row: number) => number,
): void {
  const target = new Float32Array(memory, address);
  for (let at = 0, stored = firstRow; at < values.length; stored++) {
    const row = placeOf(stored);
    const start = Math.floor(row / PANEL) * PANEL * columns + row % PANEL;
    for (let column = 0; column < columns; column++, at++) target[start + column * PANEL] = values[at];
  }
}
