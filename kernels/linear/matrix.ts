// Lowers linear for many rows to matrix units, which multiply halves. Knows when that form may be taken.
import type { GpuCaps } from "../../device/caps.ts";
import {
  type GpuContext,
  type GpuMatrix,
  type Halves,
  type KernelCall,
  type MatrixShard,
  rowStride,
} from "../gpu_op.ts";
import type { LinearNode, Value } from "../graph.ts";
import { mostRows, numRowsWord, quadGrid, rowsInStep } from "../grid.ts";
import { FEWEST_HALF_ROWS, halvesWords, PACK_HALVES } from "../half_values.ts";
import { ELEMENTS_PER_16_BYTES, specialise } from "../wgsl.ts";
import { bytesOfValues, movingWork, productWork, rowsOf } from "../work.ts";
import { outputQuads, quadEpilogue } from "./epilogue.ts";
import halvesCode from "./halves.wgsl" with { type: "text" };
import { type Division, Divisions, hasMatrixForms, tilesOf } from "./matrix_division.ts";
import { matrixFormCode } from "./matrix_code.ts";
import { type MatrixSizes, MOST_TILE_ROWS, tileColumns, tileRows } from "./matrix_form.ts";
import { partCalls } from "./matrix_parts.ts";
import { weightAccess } from "./weight_access.ts";

/**
 * Whether products with this weight run on matrix units in steps of at least FEWEST_HALF_ROWS rows: not where the device
 * has none, and not in f32, which would lose precision.
 */
export function onMatrixUnits({ type, rows, shards }: GpuMatrix, caps: GpuCaps): boolean {
  // Fours of output columns must not lie in two shards.
  return type !== "f32" && hasMatrixForms(caps) &&
    shards.every(({ firstRow, numRows }) =>
      firstRow % 4 === 0 && (numRows % 4 === 0 || firstRow + numRows === rows)
    );
}

/** Whether such a linear leaves parts to add up, in a step of so many rows. */
export function leavesParts(node: LinearNode, context: GpuContext): (rows: number) => boolean {
  const weight = context.matrix(node.weight);
  const divisions = weight.shards.map((shard) => divisionsOf(node, shard, context));
  return (rows) => rows >= FEWEST_HALF_ROWS && divisions.some((of) => of.at(rows).parts);
}

/** The dispatches for steps of at least FEWEST_HALF_ROWS rows, of a weight that is multiplied on matrix units. */
export function matrixCalls(node: LinearNode, weight: GpuMatrix, context: GpuContext): KernelCall[] {
  const made = context.halves(node.input);
  const halves = made ?? roundedHalves(node.input, context);
  const calls = weight.shards.flatMap((shard) => productCalls(node, weight, shard, halves, context));
  return made ? calls : [halvesCall(node.input, halves, context), ...calls];
}

function productCalls(
  node: LinearNode,
  weight: GpuMatrix,
  shard: MatrixShard,
  halves: Halves,
  context: GpuContext,
): KernelCall[] {
  const type = weight.type as MatrixSizes["type"];
  const access = weightAccess(shard, 3);
  const epilogue = quadEpilogue(node, weight, context, 3 + access.bindings.length);
  const sizes: MatrixSizes = {
    type,
    numRowsWord: numRowsWord(node.input.rows),
    xWords: halves.words,
    weightWords: rowStride(weight.columns) / ELEMENTS_PER_16_BYTES[type],
    shardRows: shard.numRows,
    firstColumn: shard.firstRow,
    outputQuads: outputQuads(node, context),
  };
  const divisions = divisionsOf(node, shard, context);
  const taken = new Set<Division>();
  for (let rows = FEWEST_HALF_ROWS; rows <= mostRows(node.input.rows, context.layout.limits); rows++) {
    taken.add(divisions.at(rows));
  }
  return [...taken].flatMap((division): KernelCall[] => {
    const { form, parts } = division;
    const takes = (rows: number) => rows >= FEWEST_HALF_ROWS && divisions.at(rows) === division;
    if (parts) {
      const parted = { form, parts };
      return partCalls(
        { node, weight, shard, division: parted, sizes, halves: halves.buffer, access, takes },
        context,
      );
    }
    return [{
      label: `linear ${node.weight.name}, matrix units, ${tileRows(form)}x${tileColumns(form)}`,
      code: matrixFormCode(form, sizes, access, epilogue.code),
      bindings: [
        { buffer: context.control, access: "read" },
        { buffer: halves.buffer, access: "read" },
        { buffer: shard.buffer, access: "read" },
        ...access.bindings,
        ...epilogue.bindings,
      ],
      work: productWork(node, weight, shard, context, "matrix"),
      grid: (shape) => {
        const rows = rowsInStep(node.input.rows, shape);
        return takes(rows) ? [...tilesOf(form, shard.numRows, rows), 1] : undefined;
      },
    }];
  });
}

function divisionsOf(node: LinearNode, shard: MatrixShard, context: GpuContext): Divisions {
  const product = {
    shardRows: shard.numRows,
    xWords: halvesWords(node.input.width),
    sumIsFree: context.halfValues.normAfter(node) !== undefined,
  };
  return Divisions.of(product, context.caps)!;
}

/** Halves of a value that is not stored so: each linear that reads it rounds it again. */
function roundedHalves({ rows, width }: Value, context: GpuContext): Halves {
  const words = halvesWords(width);
  const tiles = Math.ceil(mostRows(rows, context.layout.limits) / MOST_TILE_ROWS);
  return { buffer: context.scratch("halves", tiles * MOST_TILE_ROWS * words * 16), words };
}

function halvesCall(input: Value, { buffer, words }: Halves, context: GpuContext): KernelCall {
  return {
    label: "linear halves",
    code: specialise(halvesCode, {
      NUM_ROWS: numRowsWord(input.rows),
      HALVES_WORDS: words,
      X_QUADS: rowStride(input.width) / 4,
    }, { pack: PACK_HALVES }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(input), access: "read" },
      { buffer, access: "readWrite" },
    ],
    work: movingWork(bytesOfValues([input], context), (batch) => rowsOf(input, batch) * words * 16),
    grid: (shape) => {
      const rows = rowsInStep(input.rows, shape);
      return rows < FEWEST_HALF_ROWS ? undefined : quadGrid(words, rows);
    },
  };
}
