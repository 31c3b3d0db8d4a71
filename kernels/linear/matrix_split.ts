// Products of few rows on matrix units: too few tiles to keep a GPU busy, so the depth is split over several workgroups
// a tile, and a second dispatch adds their sums up.
import type { GpuCaps } from "../../device/caps.ts";
import type { GpuContext, GpuMatrix, KernelCall, MatrixShard } from "../gpu_op.ts";
import type { LinearNode } from "../graph.ts";
import { rowsInStep } from "../grid.ts";
import { specialise } from "../wgsl.ts";
import { quadEpilogue } from "./epilogue.ts";
import {
  isEven,
  type MatrixForm,
  matrixFormCode,
  matrixGrid,
  type MatrixSizes,
  tileColumns,
  tileRows,
} from "./matrix_form.ts";
import splitCode from "./split.wgsl" with { type: "text" };

/** Workgroups to aim at. */
const WANTED_WORKGROUPS = 512;
const MOST_PARTS = 16;
/** Rows up to which reading the weight is what takes time. */
const FEW_ROWS = 64;

/**
 * For few rows: little of x, much of the weight on its way at once; then for more. Undefined without matrix units, or
 * with fragments too small for these forms.
 */
export function splitForms({ matrixFragment, subgroupMaxSize }: GpuCaps): MatrixForm[] | undefined {
  if (!matrixFragment) return undefined;
  const shared = { fragment: matrixFragment, lanes: subgroupMaxSize };
  const { k } = matrixFragment;
  const forms = [
    { ...shared, subgroupsDown: 1, subgroupsAcross: 4, fragmentsDown: 1, fragmentsAcross: 1, depth: 8 * k },
    { ...shared, subgroupsDown: 2, subgroupsAcross: 2, fragmentsDown: 2, fragmentsAcross: 2, depth: 4 * k },
  ];
  return forms.every(isEven) ? forms : undefined;
}

/** Which of the two forms serves so many rows. */
export function chooseSplitForm(forms: readonly MatrixForm[], rows: number): MatrixForm {
  return forms[rows <= FEW_ROWS ? 0 : 1];
}

/** Whether splitting the depth is better than whole products whatever their number. */
export function wantsSplit(rows: number): boolean {
  return rows <= FEW_ROWS;
}

/** Parts of the depth, for a number of tiles; PARTS_OF is the same in WGSL. */
function partsOf(tiles: number, steps: number): number {
  return Math.min(Math.ceil(WANTED_WORKGROUPS / tiles), MOST_PARTS, steps);
}

const PARTS_OF = `fn partsOf(tilesDown: u32) -> u32 {
    let tiles = tilesDown * TILES_ACROSS;
    return min(min((${WANTED_WORKGROUPS}u + tiles - 1u) / tiles, ${MOST_PARTS}u), STEPS);
}`;

const RANGE = `    let tilesDown = (numRows + ROWS - 1u) / ROWS;
    let parts = partsOf(tilesDown);
    let firstStep = STEPS * tile.z / parts;
    let numSteps = STEPS * (tile.z + 1u) / parts - firstStep;
    let firstOutputRow = tile.z * tilesDown * ROWS;`;

/** The product in parts, and their sum, in steps whose number of rows is `taken`. */
export function splitCalls(
  node: LinearNode,
  weight: GpuMatrix,
  shard: MatrixShard,
  form: MatrixForm,
  sizes: MatrixSizes,
  halves: GPUBuffer,
  context: GpuContext,
  taken: (rows: number) => boolean,
): KernelCall[] {
  const steps = sizes.xWords * 8 / form.depth;
  const tilesAcross = Math.ceil(shard.numRows / tileColumns(form));
  const partialQuads = tilesAcross * tileColumns(form) / 4;
  const partials = context.scratch(
    "partial sums",
    partialRows(node, form, context, taken, tilesAcross, steps) * partialQuads * 16,
  );
  const rowsOf = (shape: Parameters<KernelCall["grid"]>[0]) => {
    const rows = rowsInStep(node.input.rows, shape);
    return taken(rows) ? rows : undefined;
  };
  const epilogue = quadEpilogue(node, weight, context, 2);
  const partialSizes = { ...sizes, firstColumn: 0, outputQuads: partialQuads };
  return [{
    label: `linear ${node.weight.name}, matrix units, ${tileRows(form)}x${tileColumns(form)} in parts`,
    code: matrixFormCode(form, partialSizes, partialEpilogue(tilesAcross), RANGE),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: halves, access: "read" },
      { buffer: shard.buffer, access: "read" },
      { buffer: partials, access: "readWrite" },
    ],
    weightBytes: shard.buffer.size,
    grid: (shape) => {
      const rows = rowsOf(shape);
      if (rows === undefined) return undefined;
      const [across, down] = matrixGrid(form, shard.numRows, rows);
      return [across, down, partsOf(across * down, steps)];
    },
  }, {
    label: `linear ${node.weight.name}, sum of parts`,
    code: specialise(splitCode, {
      NUM_ROWS: sizes.numRowsWord,
      ROWS: tileRows(form),
      STEPS: steps,
      TILES_ACROSS: tilesAcross,
      PARTIAL_QUADS: partialQuads,
      SHARD_QUADS: Math.ceil(shard.numRows / 4),
      FIRST_COLUMN: sizes.firstColumn,
      OUTPUT_QUADS: sizes.outputQuads,
    }, { epilogue: epilogue.code, parts: PARTS_OF }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: partials, access: "read" },
      ...epilogue.bindings,
    ],
    grid: (shape) => {
      const rows = rowsOf(shape);
      return rows === undefined ? undefined : [Math.ceil(shard.numRows / 4 / 64), rows, 1];
    },
  }];
}

/** Most rows of partial sums, of all parts together, in a step that the form takes. */
function partialRows(
  node: LinearNode,
  form: MatrixForm,
  context: GpuContext,
  taken: (rows: number) => boolean,
  tilesAcross: number,
  steps: number,
): number {
  const { maxTokens, maxSamples } = context.layout.limits;
  const mostRows = node.input.rows === "tokens" ? maxTokens : maxSamples;
  let most = 0;
  for (let tiles = 1; (tiles - 1) * tileRows(form) < mostRows; tiles++) {
    // Between two forms the choice changes where a tile begins or, for the fewest rows, within the first.
    const [first, last] = [(tiles - 1) * tileRows(form) + 1, tiles * tileRows(form)];
    if (!taken(first) && !taken(last)) continue;
    most = Math.max(most, partsOf(tiles * tilesAcross, steps) * last);
  }
  return most;
}

/** Stores sums as they are. */
function partialEpilogue(tilesAcross: number): string {
  return `@group(0) @binding(3) var<storage, read_write> partials: array<vec4<f32>>;
const TILES_ACROSS = ${tilesAcross}u;
${PARTS_OF}
fn termsOf(column: u32) -> u32 { return column; }
fn finish(at: u32, terms: u32, sum: vec4<f32>) { partials[at] = sum; }`;
}
