// Linear on the GPU: one tiled form for any number of rows, and in the fast profile forms for one to eight rows, where
// reading the weight is all that counts; that for one row also normalises it; and for more rows one on matrix units,
// where the device has them. The safe profile keeps to the tiled form, so that a row's sums never depend on its batch.
import { readerMerges, splitResults, splittingToMerge } from "../attention/split.ts";
import type { StepShape } from "../control.ts";
import {
  type GpuContext,
  type GpuMatrix,
  type KernelCall,
  type MatrixShard,
  rowStride,
  type StorageType,
} from "../gpu_op.ts";
import type { LinearNode } from "../graph.ts";
import { numRowsWord, rowsInStep } from "../grid.ts";
import { FEWEST_HALF_ROWS } from "../half_values.ts";
import { quadSnippet, specialise, unroll } from "../wgsl.ts";
import { productWork } from "../work.ts";
import { linearEpilogue } from "./epilogue.ts";
import { gemvCode } from "./gemv.ts";
import { gemvForm, type GemvRows, gemvWorkgroups } from "./gemv_form.ts";
import { matrixCalls, onMatrixUnits } from "./matrix.ts";
import { mergeStage, type Splits } from "./merge_stage.ts";
import { normStage } from "./norm_stage.ts";
import { plainStage } from "./row_stage.ts";
import { weightAccess } from "./weight_access.ts";
import { wholeGemvCode } from "./whole_gemv.ts";
import { wholeGemvForm, wholeTypeOf } from "./whole_gemv_form.ts";
import { wholeEnd, wholeWords } from "./whole_numbers.ts";
import tiledCode from "./tiled.wgsl" with { type: "text" };

const TILE = 64;
const GEMV_ROWS: readonly GemvRows[] = [1, 2, 4, 8];
const MOST_GEMV_ROWS = 8;
/**
 * Rows up to which those forms normalise their input themselves. Every workgroup does it again, so for more rows it
 * takes longer than a dispatch of its own.
 */
export const MOST_NORMALISED_ROWS = 1;

/** One call per shard of the weight and form; of the forms, one runs in a step. */
export function lowerLinear(node: LinearNode, context: GpuContext): KernelCall[] {
  const weight = context.matrix(node.weight);
  const { shards } = weight;
  if (context.profile === "safe") return shards.map((shard) => tiledCall(node, weight, shard, context, 1));
  const onUnits = onMatrixUnits(weight, context.caps);
  const gemvRows = GEMV_ROWS.filter((rows) => !onUnits || rows < FEWEST_HALF_ROWS);
  return [
    ...shards.flatMap((shard) => gemvRows.flatMap((rows) => gemvCalls(node, weight, shard, context, rows))),
    ...(onUnits
      ? matrixCalls(node, weight, context)
      : shards.map((shard) => tiledCall(node, weight, shard, context, MOST_GEMV_ROWS + 1))),
  ];
}

function tiledCall(
  node: LinearNode,
  weight: GpuMatrix,
  shard: MatrixShard,
  context: GpuContext,
  fewestRows: number,
): KernelCall {
  const access = weightAccess(shard, 4);
  const epilogue = linearEpilogue(node, weight, context, 4 + access.bindings.length);
  const sizes = [
    numRowsWord(node.input.rows),
    rowStride(weight.columns) / 4,
    shard.numRows,
    shard.firstRow,
    rowStride(node.output.width),
  ];
  return {
    label: `linear ${node.weight.name}`,
    code: specialise(tiledCode, {}, {
      access: access.code,
      loadWeight: loadWeight(weight.type),
      epilogue: epilogue.code,
      multiply: unroll(4, multiplyLine),
    }),
    bindings: [
      ...productBindings(context.activation(node.input), shard, context),
      { buffer: context.uniform(sizes), access: "uniform" },
      ...access.bindings,
      ...epilogue.bindings,
    ],
    work: productWork(node, weight, shard, context, "f32"),
    grid: (shape) => {
      const rows = rowsInStep(node.input.rows, shape);
      if (rows < fewestRows) return undefined;
      return [Math.ceil(shard.numRows / TILE), Math.ceil(rows / TILE), 1];
    },
  };
}

/** WGSL: `Word`, of which the weight is an array, and the four elements at 4 * k of a row, before the row's scale. */
function loadWeight(type: StorageType): string {
  if (type === "i4") {
    return `alias Word = u32;
fn loadWeight(row: u32, k: u32) -> vec4<f32> {
    let word = weight[row * (sizes.rowQuads / 2u) + k / 2u];
    return multiplierOf(row, k / 8u, sizes.rowQuads / 8u) * unpackNibbles(word >> (16u * (k % 2u)));
}`;
  }
  return `${quadSnippet(type)}
alias Word = Quad;
fn loadWeight(row: u32, k: u32) -> vec4<f32> { return unpackQuad(weight[row * sizes.rowQuads + k]); }`;
}

/** Adds the products at k = 4 * quad + i of the tile to the thread's 4 x 4 sums. */
function multiplyLine(i: number): string {
  return `let a${i} = xTile[xAt + ${i * 16}u]; let b${i} = weightTile[weightAt + ${i * 16}u];
y0 = fma(a${i}.xxxx, b${i}, y0); y1 = fma(a${i}.yyyy, b${i}, y1); y2 = fma(a${i}.zzzz, b${i}, y2); y3 = fma(a${i}.wwww, b${i}, y3);`;
}

/** Of one row of an attention's output there are two forms: one joins the attention's splits, one reads what is joined. */
function gemvCalls(
  node: LinearNode,
  weight: GpuMatrix,
  shard: MatrixShard,
  context: GpuContext,
  maxRows: GemvRows,
): KernelCall[] {
  const attention = maxRows === 1 ? context.fusedMerge(node.input) : undefined;
  const splitting = attention && splittingToMerge(attention, context);
  if (!splitting) return [gemvCall(node, weight, shard, context, maxRows, () => true)];
  return [
    gemvCall(node, weight, shard, context, maxRows, readerMerges, { attention, splitting }),
    gemvCall(node, weight, shard, context, maxRows, (shape) => !readerMerges(shape)),
  ];
}

function gemvCall(
  node: LinearNode,
  weight: GpuMatrix,
  shard: MatrixShard,
  context: GpuContext,
  maxRows: GemvRows,
  runs: (shape: StepShape) => boolean,
  splits?: Splits,
): KernelCall {
  const norm = maxRows <= MOST_NORMALISED_ROWS ? context.fusedNorm(node.input) : undefined;
  const wholeType = wholeTypeOf(maxRows, weight, context.caps);
  const staged = splits !== undefined || norm !== undefined || wholeType !== undefined;
  const isWhole = maxRows === 1 && context.wholeType(node.input) !== undefined;
  const leaves = maxRows === 1 ? context.wholeType(node.output) : undefined;
  const form = wholeType
    ? wholeGemvForm(wholeType, weight, context.caps, { isWhole, leaves })
    : gemvForm(maxRows, weight, context.caps, staged);
  const access = weightAccess(shard, 3), beforeStage = 3 + access.bindings.length;
  const stage = isWhole
    ? undefined
    : splits
    ? mergeStage(splits, form, context, beforeStage)
    : norm
    ? normStage(norm, form, context, beforeStage)
    : staged
    ? plainStage(form)
    : undefined;
  const epilogue = linearEpilogue(node, weight, context, beforeStage + (stage?.bindings.length ?? 0), {
    whole: leaves !== undefined,
  });
  const constants = {
    NUM_ROWS: numRowsWord(node.input.rows),
    SHARD_ROWS: shard.numRows,
    FIRST_COLUMN: shard.firstRow,
    OUTPUT_STRIDE: rowStride(node.output.width),
  };
  const x = splits
    ? splitResults(splits.attention, splits.splitting, context).partials
    : context.activation(norm?.input ?? node.input);
  return {
    label: `linear ${node.weight.name}, ${maxRows} rows${splits ? ", of splits" : ""}`,
    code: form.wholeType
      ? wholeGemvCode(
        form,
        constants,
        access,
        epilogue,
        stage ?? wholeWords(form.wholeType, form.wordsPerRow),
        leaves && wholeEnd(form, leaves, node.output.width),
      )
      : gemvCode(form, constants, access, epilogue, stage),
    bindings: [
      ...productBindings(x, shard, context),
      ...access.bindings,
      ...(stage?.bindings ?? []),
      ...epilogue.bindings,
    ],
    work: productWork(node, weight, shard, context, "f32"),
    grid: (shape) => {
      const rows = rowsInStep(node.input.rows, shape);
      if (rows > maxRows || rows <= maxRows / 2 || !runs(shape)) return undefined;
      return [gemvWorkgroups(form, shard.numRows), 1, 1];
    },
  };
}

function productBindings(x: GPUBuffer, shard: MatrixShard, context: GpuContext) {
  return [
    { buffer: context.control, access: "read" },
    { buffer: x, access: "read" },
    { buffer: shard.buffer, access: "read" },
  ] as const;
}
