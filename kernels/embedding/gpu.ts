// Embedding on the GPU: one call for each pair of a token shard and a position shard; together they write every row.
import { controlConstants } from "../control.ts";
import {
  type Binding,
  type GpuContext,
  type GpuMatrix,
  type KernelCall,
  type MatrixShard,
  rowStride,
} from "../gpu_op.ts";
import type { EmbeddingNode } from "../graph.ts";
import { quadGrid } from "../grid.ts";
import { FIRST_DRAWN } from "../step.ts";
import { ELEMENTS_PER_16_BYTES, quadSnippet, specialise } from "../wgsl.ts";
import { movingWork, rowsOf, type WorkOf } from "../work.ts";
import code from "./embedding.wgsl" with { type: "text" };

/** A table to look up in, and the control array that holds the row's index into it. */
interface Lookup {
  readonly matrix: GpuMatrix;
  readonly indices: "TOKEN_IDS" | "POSITIONS";
}

export function lowerEmbedding(node: EmbeddingNode, context: GpuContext): KernelCall[] {
  const lookups: Lookup[] = [{ matrix: context.matrix(node.table), indices: "TOKEN_IDS" }];
  if (node.positionTable) {
    lookups.push({ matrix: context.matrix(node.positionTable), indices: "POSITIONS" });
  }
  const combinations = shardCombinations(lookups);
  return combinations.map((shards) => ({
    ...embeddingCall(node, context, lookups, shards),
    work: embeddingWork(node, lookups, 1 / combinations.length),
  }));
}

function shardCombinations(lookups: readonly Lookup[]): MatrixShard[][] {
  return lookups.reduce<MatrixShard[][]>(
    (chosen, { matrix }) => chosen.flatMap((shards) => matrix.shards.map((shard) => [...shards, shard])),
    [[]],
  );
}

function embeddingCall(
  node: EmbeddingNode,
  context: GpuContext,
  lookups: readonly Lookup[],
  shards: readonly MatrixShard[],
): KernelCall {
  const rowQuads = rowStride(node.output.width) / 4;
  const bindings: Binding[] = [
    { buffer: context.control, access: "read" },
    { buffer: context.activation(node.output), access: "readWrite" },
    { buffer: context.tokens, access: "read" },
  ];
  const parts = lookups.map((lookup, i) => lookupCode(lookup, shards[i], i, bindings));
  return {
    label: `embedding ${node.table.name}`,
    code: specialise(code, { ...controlConstants(context.layout), ROW_QUADS: rowQuads, FIRST_DRAWN }, {
      lookups: parts.map((part) => part.declarations).join("\n"),
      add: parts.map((part) => part.add).join("\n"),
    }),
    bindings,
    grid: (shape) => quadGrid(rowQuads, shape.numTokens),
  };
}

/** Of a call that finds `share` of the step's rows in its shards. */
function embeddingWork(
  { output }: EmbeddingNode,
  lookups: readonly Lookup[],
  share: number,
): WorkOf {
  const rowBytes =
    (4 + lookups.reduce((sum, { matrix }) => sum + 16 / ELEMENTS_PER_16_BYTES[matrix.type], 0)) *
    output.width;
  return movingWork((batch) => rowsOf(output, batch) * rowBytes * share);
}

/** WGSL that adds lookup `i` to `sum`, or returns where the row is another shard's; appends what it binds. */
function lookupCode({ matrix, indices }: Lookup, shard: MatrixShard, i: number, bindings: Binding[]) {
  const bind = (name: string, type: string, buffer: GPUBuffer) => {
    const binding = bindings.push({ buffer, access: "read" }) - 1;
    return `@group(0) @binding(${binding}) var<storage, read> ${name}${i}: array<${type}>;\n`;
  };
  const table = bind("table", `Quad${i}`, shard.buffer);
  const scales = matrix.scales ? bind("scales", "f32", matrix.scales) : "";
  return {
    declarations: `${quadSnippet(matrix.type, `${i}`)}\n${table}${scales}`,
    add: `    let index${i} = ${indices === "TOKEN_IDS" ? "tokenOf(row)" : `control[${indices} + row]`};
    let local${i} = index${i} - ${shard.firstRow}u;
    // Wraps around, so that one comparison covers both ends.
    if (local${i} >= ${shard.numRows}u) { return; }
    sum += unpackQuad${i}(table${i}[local${i} * ROW_QUADS + quad])${
      matrix.scales ? ` * scales${i}[index${i}]` : ""
    };`,
  };
}
