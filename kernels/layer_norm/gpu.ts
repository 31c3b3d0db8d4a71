// LayerNorm on the GPU: one workgroup a row, any width. Steps of one row leave it to the linears that read it, where they
// can.
import { type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { LayerNormNode } from "../graph.ts";
import { foldGrid, numRowsWord, rowsInStep } from "../grid.ts";
import { MOST_NORMALISED_ROWS } from "../linear/gpu.ts";
import { specialise } from "../wgsl.ts";
import { heldRow, teamsOf } from "./held_row.ts";
import layerNormCode from "./layer_norm.wgsl" with { type: "text" };

/** A row in the registers of so many threads, eight columns each at a width of 2048. */
const THREADS = 256;

export function lowerLayerNorm(node: LayerNormNode, context: GpuContext): KernelCall[] {
  const { rows, width } = node.input;
  const fewestRows = context.fusedNorm(node.output) ? MOST_NORMALISED_ROWS + 1 : 1;
  const teams = teamsOf(THREADS, context.caps);
  const row = heldRow(node, teams, context, 3);
  const code = specialise(layerNormCode, { THREADS, NUM_ROWS: numRowsWord(rows) }, {
    row: row.code,
    builtins: teams.subgroups ? SUBGROUP_BUILTINS : "",
    place: teams.subgroups ? "" : "    let team = 0u;\n    let lane = 0u;",
    loads: row.loads(`row * ${rowStride(width) / 4}u`),
    normalise: row.normalise,
    store: row.each((i) => `    if (held${i}) { y[row * ${rowStride(width) / 4}u + quad${i}] = y${i}; }`),
  });
  return [{
    label: `layerNorm ${node.scale.name}`,
    code: teams.subgroups ? `enable subgroups;\n${code}` : code,
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: context.activation(node.output), access: "readWrite" },
      ...row.bindings,
    ],
    grid: (shape) => rowsInStep(rows, shape) < fewestRows ? undefined : foldGrid(rowsInStep(rows, shape)),
  }];
}

const SUBGROUP_BUILTINS = "@builtin(subgroup_id) team: u32, @builtin(subgroup_invocation_id) lane: u32,";
