// What an op's CPU lowering gets and gives: addresses in, calls out. Pure data; cpu_plan.ts writes the calls into the
// memory that the kernels share, and replays them every step.
import type { OnlineShape } from "./convolution_history/online_sums.ts";
import type { Columns } from "./columns.ts";
import type { Value } from "./graph.ts";
import { PANEL } from "./cpu_layout.ts";
import type { Int8Form } from "./linear/int8_form.ts";
import type { WeightRef } from "./tensor_source.ts";

/** One kernel over one step's rows: field (a byte offset of cpu_layout.ts) -> u32. */
export type CpuCall = Readonly<Record<number, number>>;

/** A matrix of activations, f32; what lies between a row's end and the next row is zero and must stay so. */
export interface CpuActivation {
  readonly address: number;
  /** Floats from one row to the next. */
  readonly stride: number;
}

/** A weight matrix [rows, columns] in panels, as linear/linear.wasm.ts reads it. */
export interface CpuMatrix {
  readonly type: "i8" | "f32";
  readonly address: number;
  readonly rows: number;
  readonly columns: number;
  /** For i8: f32 [rows] and i32 [rows], padded to whole panels; else 0. */
  readonly scales: number;
  readonly sums: number;
}

/** Rows of activations as integers (linear/quantize_rows.wasm.ts). */
export interface CpuLimbs {
  readonly address: number;
  /** Bytes from one row to the next. */
  readonly stride: number;
  /** f32 [rows] */
  readonly scales: number;
}

/** One layer's cache (attention/attention.wasm.ts). */
export interface CpuKvCache {
  readonly keys: number;
  readonly values: number;
}

/** Everything a lowering may use. */
export interface CpuContext {
  readonly int8Form: Int8Form;
  matrix(ref: WeightRef): CpuMatrix;
  /** f32 rows of `rowStride(columns)`. */
  rows(ref: WeightRef): number;
  activation(value: Value): CpuActivation;
  /** Room for the quantised rows of a matrix of this width; shared by all ops, so never live across two. */
  limbs(width: number): CpuLimbs;
  kvCache(layer: number): CpuKvCache;
  /** Address of a layer's inputs (convolution_history/convolution_history.wasm.ts). */
  history(layer: number): number;
  /** How long convolutions sum what earlier steps add to single tokens; undefined: directly. */
  readonly online: OnlineShape | undefined;
  /** Address of a layer's sums, f32 [maxSequences][window][width]. */
  onlineSums(layer: number): number;
  /** Address of f32 [numStateSlots][floats] of the graph's state layer. */
  recurrentState(layer: number): number;
  /** Most new tokens of a sequence in a step. */
  readonly maxQueryLength: number;
  /** Longest context, rounded up to whole blocks. */
  readonly scoreStride: number;
  /** Tells how much working memory each thread needs. */
  needScratch(bytes: number): void;
}

/** Floats from one row of a matrix to the next, for rows of `width`: whole panels, since a linear writes such. */
export function rowStride(width: number): number {
  return Math.ceil(width / PANEL) * PANEL;
}

/** The address of a value's columns and their stride under two fields of a call; without columns both are 0. */
export function columnsCall(
  columns: Columns | undefined,
  address: number,
  stride: number,
  context: CpuContext,
): CpuCall {
  if (!columns) return { [address]: 0, [stride]: 0 };
  const activation = context.activation(columns.value);
  return { [address]: activation.address + 4 * columns.first, [stride]: activation.stride };
}

/** Rows of `width` that are worth a task: some 2 us. */
export function rowsPerTask(width: number): number {
  return Math.max(1, Math.floor(8192 / width));
}

/** A float as a field of a call. */
export function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}
