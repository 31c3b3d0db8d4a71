// Products whose depth is split over several workgroups a tile, and the dispatch that adds their sums up, which may also
// normalise the result.
import type { GpuContext, GpuMatrix, KernelCall, MatrixShard } from "../gpu_op.ts";
import { rowStride } from "../gpu_op.ts";
import type { LayerNormNode, LinearNode } from "../graph.ts";
import { foldGrid, mostRows, rowsInStep } from "../grid.ts";
import { PACK_HALVES } from "../half_values.ts";
import { heldRow, teamsOf } from "../layer_norm/held_row.ts";
import { specialise } from "../wgsl.ts";
import { type BytesOf, bytesOfOutput, bytesOfValues, movingWork, productWork, rowsOf } from "../work.ts";
import { quadEpilogue, quadTerms } from "./epilogue.ts";
import { type Division, type Parts, tilesOf } from "./matrix_division.ts";
import { matrixFormCode } from "./matrix_code.ts";
import { type MatrixSizes, tileColumns, tileRows } from "./matrix_form.ts";
import sumNormCode from "./sum_norm.wgsl" with { type: "text" };
import sumPartsCode from "./sum_parts.wgsl" with { type: "text" };
import type { WeightAccess } from "./weight_access.ts";

/** A product in parts, of steps whose number of rows it `takes`. */
export interface PartedProduct {
  readonly node: LinearNode;
  readonly weight: GpuMatrix;
  readonly shard: MatrixShard;
  readonly division: Required<Division>;
  readonly sizes: MatrixSizes;
  readonly halves: GPUBuffer;
  readonly access: WeightAccess;
  takes(rows: number): boolean;
}

const RANGE = `    let tilesDown = (numRows + ROWS - 1u) / ROWS;
    let parts = partsOf(tilesDown);
    let firstStep = STEPS * tile.z / parts;
    let numSteps = STEPS * (tile.z + 1u) / parts - firstStep;
    let firstOutputRow = tile.z * tilesDown * ROWS;`;

/** Threads that add a row's parts up and normalise it: as many as the device has of these. */
const THREADS_OF_NORM = [512, 256];

/** The product in parts, and their sum. */
export function partCalls(product: PartedProduct, context: GpuContext): KernelCall[] {
  const { node, weight, shard, division: { form, parts }, sizes, halves, access } = product;
  const [across] = tilesOf(form, shard.numRows, 1);
  const partialQuads = across * tileColumns(form) / 4;
  const rows = partialRows(product, context);
  if (rows === 0) return [];
  const partials = context.scratch("partial sums", rows * partialQuads * 16);
  const epilogue = partialEpilogue(weight, shard, parts, 3 + access.bindings.length);
  const norm = context.halfValues.normAfter(node);
  const partialBytes: BytesOf = (batch) => {
    const count = rowsOf(node.input, batch), [, down] = tilesOf(form, shard.numRows, count);
    return parts.of(down) * count * shard.numRows * 4;
  };
  const sum: SumOfParts = { ...product, partials, partialQuads, partialBytes };
  return [{
    label: `linear ${node.weight.name}, matrix units, ${tileRows(form)}x${tileColumns(form)} in parts`,
    code: matrixFormCode(
      form,
      { ...sizes, firstColumn: 0, outputQuads: partialQuads },
      access,
      epilogue.code,
      RANGE,
    ),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: halves, access: "read" },
      { buffer: shard.buffer, access: "read" },
      ...access.bindings,
      { buffer: partials, access: "readWrite" },
      ...epilogue.scales,
    ],
    work: productWork(node, weight, shard, context, "matrix", partialBytes),
    grid: (shape) => {
      const count = rowsInStep(node.input.rows, shape);
      if (!product.takes(count)) return undefined;
      const [tilesAcross, down] = tilesOf(form, shard.numRows, count);
      return [tilesAcross, down, parts.of(down)];
    },
  }, norm ? sumNormCall(sum, norm, context) : sumCall(sum, context)];
}

interface SumOfParts extends PartedProduct {
  readonly partials: GPUBuffer;
  readonly partialQuads: number;
  /** Of all parts, without what fills tiles up. */
  readonly partialBytes: BytesOf;
}

function sumCall(sum: SumOfParts, context: GpuContext): KernelCall {
  const { node, weight, shard, sizes } = sum;
  const epilogue = quadEpilogue(node, weight, context, 2, { scaled: true });
  return {
    label: `linear ${node.weight.name}, sum of parts`,
    code: specialise(sumPartsCode, {
      ...sumConstants(sum),
      SHARD_QUADS: Math.ceil(shard.numRows / 4),
      FIRST_COLUMN: sizes.firstColumn,
      OUTPUT_QUADS: sizes.outputQuads,
    }, { epilogue: epilogue.code, parts: sum.division.parts.code }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: sum.partials, access: "read" },
      ...epilogue.bindings,
    ],
    work: movingWork(sum.partialBytes, bytesOfOutput(node, weight, shard, context)),
    grid: (shape) => {
      const rows = rowsInStep(node.input.rows, shape);
      return sum.takes(rows) ? [Math.ceil(shard.numRows / 4 / 64), rows, 1] : undefined;
    },
  };
}

/** The sum and the norm of it, where the weight is one shard: a workgroup a row. */
function sumNormCall(sum: SumOfParts, norm: LayerNormNode, context: GpuContext): KernelCall {
  const { node, weight } = sum;
  const halves = context.halves(norm.output)!;
  const terms = quadTerms(node, weight, context, 4, { scaled: true });
  const firstOfNorm = 4 + terms.bindings.length;
  const threads = THREADS_OF_NORM.find((count) => count <= context.caps.maxInvocations)!;
  const teams = teamsOf(threads, context.caps);
  const row = heldRow(norm, teams, context, firstOfNorm);
  const rowQuads = rowStride(node.output.width) / 4;
  const code = specialise(sumNormCode, {
    ...sumConstants(sum),
    THREADS: threads,
    OUTPUT_QUADS: rowQuads,
    HALVES_QUADS: 2 * halves.words,
  }, {
    terms: terms.code,
    parts: sum.division.parts.code,
    row: `${row.code}\n${PACK_HALVES}`,
    builtins: row.builtins,
    place: row.place,
    loads: row.loads((place) => `summed(row, ${place}, tilesDown)`),
    normalise: row.normalise,
    store: row.each((i) =>
      `    if (held${i}) {
        output[row * OUTPUT_QUADS + quad${i}] = x${i};
        halves[row * HALVES_QUADS + quad${i}] = packHalves(y${i});
    }`
    ),
  });
  return {
    label: `linear ${node.weight.name}, sum of parts, ${norm.scale.name}`,
    code: teams.subgroups ? `enable subgroups;\n${code}` : code,
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: sum.partials, access: "read" },
      { buffer: context.activation(node.output), access: "readWrite" },
      { buffer: halves.buffer, access: "readWrite" },
      ...terms.bindings,
      ...row.bindings,
    ],
    work: movingWork(
      sum.partialBytes,
      bytesOfOutput(node, weight, sum.shard, context),
      bytesOfValues([norm.output], context),
    ),
    grid: (shape) => {
      const rows = rowsInStep(node.input.rows, shape);
      return sum.takes(rows) ? foldGrid(rows) : undefined;
    },
  };
}

function sumConstants({ division: { form }, sizes, partialQuads }: SumOfParts): Record<string, number> {
  return { NUM_ROWS: sizes.numRowsWord, ROWS: tileRows(form), PARTIAL_QUADS: partialQuads };
}

/** Most rows of partial sums, of all parts together, in a step that the product takes. */
function partialRows({ node, division: { form, parts }, takes }: PartedProduct, context: GpuContext): number {
  const limit = mostRows(node.input.rows, context.layout.limits);
  let most = 0;
  for (let tiles = 1; (tiles - 1) * tileRows(form) < limit; tiles++) {
    // Between two forms the choice changes where a tile begins or, for the fewest rows, within the first.
    const [first, last] = [(tiles - 1) * tileRows(form) + 1, tiles * tileRows(form)];
    if (takes(first) || takes(last)) most = Math.max(most, parts.of(tiles) * last);
  }
  return most;
}

/** Stores sums, scaled where the weight's rows have scales. */
function partialEpilogue(
  { scales, rows }: GpuMatrix,
  { firstRow }: MatrixShard,
  parts: Parts,
  firstBinding: number,
) {
  const four = [0, 1, 2, 3].map((i) => `scales[min(column + ${firstRow + i}u, ${rows - 1}u)]`).join(", ");
  return {
    code: `@group(0) @binding(${firstBinding}) var<storage, read_write> partials: array<vec4<f32>>;
${scales ? `@group(0) @binding(${firstBinding + 1}) var<storage, read> scales: array<f32>;` : ""}
${parts.code}
fn termsOf(column: u32) -> vec4<f32> { return ${scales ? `vec4<f32>(${four})` : "vec4<f32>(1.0)"}; }
fn finish(at: u32, scale: vec4<f32>, sum: vec4<f32>) { partials[at] = ${scales ? "scale * sum" : "sum"}; }`,
    scales: scales ? [{ buffer: scales, access: "read" as const }] : [],
  };
}
