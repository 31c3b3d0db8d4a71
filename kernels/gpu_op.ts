// What an op's WebGPU lowering gets and gives: buffers in, kernel calls out. Pure data; gpu_plan.ts compiles the code and
// makes the bind groups once, and replays the calls every step.
import type { GpuCaps, Profile } from "../device/caps.ts";
import type { KvType } from "./attention/kv_layout.ts";
import type { HistoryType } from "./convolution_history/history_layout.ts";
import type { OnlineShape } from "./convolution_history/online_sums.ts";
import type { ControlLayout, StepShape } from "./control.ts";
import type { AttentionNode, LayerNormNode, Value } from "./graph.ts";
import type { TableSetUp } from "./gpu_set_up.ts";
import type { HalfValues } from "./half_values.ts";
import type { WholeType } from "./linear/fixed_point.ts";
import type { StepBatch } from "./step.ts";
import type { WeightRef } from "./tensor_source.ts";

/** Rows of activations and weights start at multiples of this many elements; what lies between is zero. */
const ROW_ALIGNMENT = 32;

/** Elements from one row of a matrix to the next, for rows of `width`. */
export function rowStride(width: number): number {
  return Math.ceil(width / ROW_ALIGNMENT) * ROW_ALIGNMENT;
}

/** Storage of a matrix on the device. i8 and i4 (int4.ts) have one f32 scale per row. */
export type StorageType = "f32" | "f16" | "i8" | "i4";

/** Rows [firstRow, firstRow + numRows) of a matrix in a buffer of their own, small enough to bind. */
export interface MatrixShard {
  readonly buffer: GPUBuffer;
  readonly firstRow: number;
  readonly numRows: number;
  /** For i4: its rows' multipliers, i8 [numRows][groups rounded up to 4]. */
  readonly multipliers?: GPUBuffer;
}

/** A weight matrix [rows, columns], row-major with `rowStride(columns)` elements a row, columns contiguous. */
export interface GpuMatrix {
  readonly type: StorageType;
  readonly rows: number;
  readonly columns: number;
  readonly shards: readonly MatrixShard[];
  /** f32 [rows] for i8 and i4, whole (never sharded). */
  readonly scales?: GPUBuffer;
}

/** A half value's storage: f16 [rows up to whole tiles, 8 * words]; beyond its width zero, and must stay so. */
export interface Halves {
  readonly buffer: GPUBuffer;
  /** 16-byte words of a row. */
  readonly words: number;
}

/** One layer's cache: K and V, each [numBlocks * BLOCK_SIZE] rows as attention/kv_layout.ts has them. */
export interface GpuKvCache {
  readonly type: KvType;
  readonly key: GPUBuffer;
  readonly value: GPUBuffer;
}

/** One layer's inputs of a long convolution: [numBlocks * BLOCK_SIZE] rows as convolution_history/history_layout.ts has them. */
export interface GpuHistory {
  readonly type: HistoryType;
  readonly buffer: GPUBuffer;
}

/** What a layer keeps of every token in the paged cache: matrices with rows of one size, for whoever moves whole blocks. */
export interface PagedMatrices {
  /** K and V, or a history alone. */
  readonly buffers: readonly [GPUBuffer, GPUBuffer?];
  /** Bytes from one token's row to the next, whole words. */
  readonly rowBytes: number;
}

export interface Binding {
  readonly buffer: GPUBuffer;
  /** `read` and `readWrite` are storage bindings. Bind whatever is only read as `read`: it saves barriers. */
  readonly access: "read" | "readWrite" | "uniform";
}

export type Grid = readonly [x: number, y: number, z: number];

/** What a dispatch has to do at least: see work.ts. */
export interface Work {
  /** Read from memory and written to it. */
  readonly bytes: number;
  /** Multiplications and additions. */
  readonly flop: number;
  /** What does them. */
  readonly units: "f32" | "matrix";
}

/** One dispatch of a plan. */
export interface KernelCall {
  readonly label: string;
  /** Complete WGSL with entry point `main`; equal code is compiled once. */
  readonly code: string;
  /** @group(0), in binding order. */
  readonly bindings: readonly Binding[];
  /** What it has to do in a step in which it runs, where that is simple to say; for profiles. */
  work?(batch: StepBatch): Work;
  /**
   * Workgroups for a step of this shape; undefined = this call does not run in such a step, which must not depend on the
   * shape's `maxContextLength`. A shape may be given with more than the step has of that, of `numAdjustments` and of
   * `numOnlineTiles`.
   */
  grid(shape: StepShape): Grid | undefined;
}

/** The call in those steps alone for whose shape `runs` is true. */
export function onlyFor(call: KernelCall, runs: (shape: StepShape) => boolean): KernelCall {
  return { ...call, grid: (shape) => runs(shape) ? call.grid(shape) : undefined };
}

/** Everything a lowering may use. Weights are already on the device; asking for one that was not loaded throws. */
export interface GpuContext {
  readonly caps: GpuCaps;
  readonly profile: Profile;
  readonly layout: ControlLayout;
  /** The control buffer; bind it as `read`. */
  readonly control: GPUBuffer;
  /** u32 [maxSamples]: the tokens that the latest step drew. */
  readonly tokens: GPUBuffer;
  matrix(ref: WeightRef): GpuMatrix;
  /** f32, tightly packed. */
  vector(ref: WeightRef): GPUBuffer;
  /** A filter's taps, in host memory. */
  filter(ref: WeightRef): Float32Array;
  /** f32 [rows, rowStride(width)]; the padding is zero and must stay so. */
  activation(value: Value): GPUBuffer;
  /** The layerNorm that makes `value`, where its readers compute it themselves in steps of few rows. */
  fusedNorm(value: Value): LayerNormNode | undefined;
  /** The attention that makes `value`, where its reader joins its splits itself in steps in which that pays. */
  fusedMerge(value: Value): AttentionNode | undefined;
  /** The whole numbers that `value` is left as in steps of one row: linear/whole_numbers.ts. */
  wholeType(value: Value): WholeType | undefined;
  readonly halfValues: HalfValues;
  /** Where `value` is stored in steps of at least FEWEST_HALF_ROWS of its rows; undefined = as in all others. */
  halves(value: Value): Halves | undefined;
  kvCache(layer: number): GpuKvCache;
  history(layer: number): GpuHistory;
  /** How long convolutions sum what earlier steps add to single tokens; undefined: directly. */
  readonly online: OnlineShape | undefined;
  /** f32 [maxSequences][window][width] of the graph's history layer, where sums are made online. */
  onlineSums(layer: number): GPUBuffer;
  /** f32 [numStateSlots][floats] of the graph's state layer. */
  recurrentState(layer: number): GPUBuffer;
  /** Working memory of this plan, shared by all calls that name it (so never live across two ops). */
  scratch(name: string, bytes: number): GPUBuffer;
  /** A buffer that is only read, holding `values`; the same for all calls that name it. */
  table(name: string, values: () => Float32Array): GPUBuffer;
  /** The same, of `bytes`, made by the GPU before any step. */
  computedTable(name: string, bytes: number, setUp: TableSetUp): GPUBuffer;
  /** A small uniform buffer holding `words`, made once. */
  uniform(words: ArrayLike<number>): GPUBuffer;
}
