// LayerNorm on the GPU: one workgroup a row, any width. Steps of one row leave it to the linears that read it, and those
// in which a product is made in parts to the sum of the parts, where they can.
import { type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { LayerNormNode } from "../graph.ts";
import { FEWEST_HALF_ROWS, PACK_HALVES } from "../half_values.ts";
import { foldGrid, numRowsWord, rowsInStep } from "../grid.ts";
import { fixedPointCode } from "../linear/fixed_point.ts";
import { MOST_NORMALISED_ROWS } from "../linear/gpu.ts";
import { leaveWholeNumbers } from "../linear/whole_numbers.ts";
import { leavesParts } from "../linear/matrix.ts";
import { specialise } from "../wgsl.ts";
import { bytesOfValues, movingWork } from "../work.ts";
import { heldRow, teamsOf } from "./held_row.ts";
import layerNormCode from "./layer_norm.wgsl" with { type: "text" };

/** A row in the registers of so many threads, eight columns each at a width of 2048; wider rows have more of them. */
const THREADS = 256;
const WIDE_COLUMNS = 2048;

export function lowerLayerNorm(node: LayerNormNode, context: GpuContext): KernelCall[] {
  const { rows } = node.input;
  const rowQuads = rowStride(node.input.width) / 4;
  const fewestRows = context.fusedNorm(node.output) ? MOST_NORMALISED_ROWS + 1 : 1;
  const linear = context.halfValues.linearBefore(node);
  const madeBySum = linear ? leavesParts(linear, context) : () => false;
  const halves = context.halves(node.output);
  const isWide = node.input.width > WIDE_COLUMNS && context.caps.maxInvocations >= 2 * THREADS;
  const threads = isWide ? 2 * THREADS : THREADS, teams = teamsOf(threads, context.caps);
  const row = heldRow(node, teams, context, 3);
  const wholeType = context.wholeType(node.output);
  const stored = (i: number) => `if (held${i}) { store(row * ${rowQuads}u + quad${i}, y${i}); }`;
  const rounded = (i: number) =>
    `if (held${i}) { halves[row * ${2 * halves!.words}u + quad${i}] = packHalves(y${i}); }`;
  const fewRows = wholeType
    ? `if (control[NUM_ROWS] == 1u) {\n${
      row.each((i) => leaveWholeNumbers(i, `y${i}`, `held${i}`, "y", wholeType, node.output.width))
    }\n} else {\n${row.each(stored)}\n}`
    : row.each(stored);
  const code = specialise(layerNormCode, { THREADS: threads, NUM_ROWS: numRowsWord(rows) }, {
    output: outputCode(wholeType !== undefined),
    row: `${row.code}\n${wholeType ? fixedPointCode(wholeType) : ""}`,
    halves: halves
      ? `@group(0) @binding(${
        3 + row.bindings.length
      }) var<storage, read_write> halves: array<vec2<u32>>;\n${PACK_HALVES}`
      : "",
    builtins: row.builtins,
    place: row.place,
    loads: row.loads((place) => `x[row * ${rowQuads}u + ${place}]`),
    normalise: row.normalise,
    store: halves
      ? `if (control[NUM_ROWS] >= ${FEWEST_HALF_ROWS}u) {\n${row.each(rounded)}\n} else {\n${fewRows}\n}`
      : fewRows,
  });
  return [{
    label: `layerNorm ${node.scale.name}`,
    code: teams.subgroups ? `enable subgroups;\n${code}` : code,
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: context.activation(node.output), access: "readWrite" },
      ...row.bindings,
      ...(halves ? [{ buffer: halves.buffer, access: "readWrite" as const }] : []),
    ],
    work: movingWork(bytesOfValues([node.input, node.output], context)),
    grid: (shape) => {
      const count = rowsInStep(rows, shape);
      if (count < fewestRows || madeBySum(count)) return undefined;
      return foldGrid(count);
    },
  }];
}

/** WGSL: binding `y`, as bits where it may be left as whole numbers, and `store(quad, value)`. */
function outputCode(asBits: boolean): string {
  const type = asBits ? "u32" : "vec4<f32>";
  return `@group(0) @binding(2) var<storage, read_write> y: array<${type}>;
fn store(quad: u32, value: vec4<f32>) {
    ${
    asBits
      ? `let bits = bitcast<vec4<u32>>(value);
    for (var i = 0u; i < 4u; i++) { y[4u * quad + i] = bits[i]; }`
      : "y[quad] = value;"
  }
}`;
}
