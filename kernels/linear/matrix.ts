// Lowers linear for many rows to matrix units: rounds the input to f16 once, then multiplies. Knows when that form may
// be taken.
import { type GpuContext, type GpuMatrix, type KernelCall, rowStride } from "../gpu_op.ts";
import type { LinearNode, Value } from "../graph.ts";
import { numRowsWord, quadGrid, rowsInStep } from "../grid.ts";
import { ELEMENTS_PER_16_BYTES, specialise } from "../wgsl.ts";
import { quadEpilogue } from "./epilogue.ts";
import halvesCode from "./halves.wgsl" with { type: "text" };
import {
  chooseForm,
  type MatrixForm,
  matrixFormCode,
  matrixForms,
  matrixGrid,
  tileColumns,
  tileRows,
} from "./matrix_form.ts";
import { chooseSplitForm, splitCalls, splitForms, wantsSplit } from "./matrix_split.ts";

/**
 * The dispatches for steps of at least `fewestRows` rows; undefined where there are no matrix units, where they would
 * lose precision (weights in f32), or where the weight's elements do not stand alone (int4: groups have multipliers).
 */
export function matrixCalls(
  node: LinearNode,
  weight: GpuMatrix,
  context: GpuContext,
  fewestRows: number,
): KernelCall[] | undefined {
  const forms = matrixForms(context.caps), inParts = splitForms(context.caps);
  const { type } = weight;
  if (!forms || !inParts || type === "f32" || type === "i4" || !shardsOfWholeQuads(weight)) return undefined;
  const xWords = halvesWords(weight.columns, [...forms, ...inParts]);
  const halves = halvesBuffer(node.input, xWords, [...forms, ...inParts], context);
  const epilogue = quadEpilogue(node, weight, context, 3);
  const products = weight.shards.flatMap((shard) => {
    const sizes = {
      type,
      numRowsWord: numRowsWord(node.input.rows),
      xWords,
      weightWords: rowStride(weight.columns) / ELEMENTS_PER_16_BYTES[type],
      shardRows: shard.numRows,
      firstColumn: shard.firstRow,
      outputQuads: rowStride(node.output.width) / 4,
    };
    const formOf = (rows: number) =>
      (wantsSplit(rows) ? undefined : chooseForm(forms, shard.numRows, rows)) ??
        chooseSplitForm(inParts, rows);
    const taken = (form: MatrixForm) => (rows: number) => rows >= fewestRows && formOf(rows) === form;
    const whole = forms.map((form): KernelCall => ({
      label: `linear ${node.weight.name}, matrix units, ${tileRows(form)}x${tileColumns(form)}`,
      code: matrixFormCode(form, sizes, epilogue.code),
      bindings: [
        { buffer: context.control, access: "read" },
        { buffer: halves, access: "read" },
        { buffer: shard.buffer, access: "read" },
        ...epilogue.bindings,
      ],
      weightBytes: shard.buffer.size,
      grid: (shape) => {
        const rows = rowsInStep(node.input.rows, shape);
        return taken(form)(rows) ? [...matrixGrid(form, shard.numRows, rows), 1] : undefined;
      },
    }));
    return [
      ...whole,
      ...inParts.flatMap((form) =>
        splitCalls(node, weight, shard, form, sizes, halves, context, taken(form))
      ),
    ];
  });
  return [halvesCall(node.input, xWords, halves, context, fewestRows), ...products];
}

/** Words of a row of x in halves, up to whole depths of every form. */
function halvesWords(columns: number, forms: readonly MatrixForm[]): number {
  const depth = Math.max(...forms.map((form) => form.depth));
  return Math.ceil(columns / depth) * depth / 8;
}

/** Fours of output columns must not lie in two shards. */
function shardsOfWholeQuads({ rows, shards }: GpuMatrix): boolean {
  return shards.every(({ firstRow, numRows }) =>
    firstRow % 4 === 0 && (numRows % 4 === 0 || firstRow + numRows === rows)
  );
}

/** f16 [rows of whole tiles, xWords * 8]; what rows beyond the step's hold does not matter. */
function halvesBuffer(
  input: Value,
  xWords: number,
  forms: readonly MatrixForm[],
  context: GpuContext,
): GPUBuffer {
  const { maxTokens, maxSamples } = context.layout.limits;
  const tile = Math.max(...forms.map(tileRows));
  const tiles = Math.ceil((input.rows === "tokens" ? maxTokens : maxSamples) / tile);
  return context.scratch("halves", tiles * tile * xWords * 16);
}

function halvesCall(
  input: Value,
  xWords: number,
  halves: GPUBuffer,
  context: GpuContext,
  fewestRows: number,
): KernelCall {
  return {
    label: "linear halves",
    code: specialise(halvesCode, {
      NUM_ROWS: numRowsWord(input.rows),
      HALVES_WORDS: xWords,
      X_QUADS: rowStride(input.width) / 4,
    }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(input), access: "read" },
      { buffer: halves, access: "readWrite" },
    ],
    grid: (shape) => {
      const rows = rowsInStep(input.rows, shape);
      return rows < fewestRows ? undefined : quadGrid(xWords, rows);
    },
  };
}
