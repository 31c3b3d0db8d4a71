// Lowers attention to tiled.wgsl: chooses its tiles by the node's shape alone and writes its inner loops out.
import type { GpuContext, KernelCall } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import { attentionWork } from "../work.ts";
import { attentionConstants, firstSeen, headQuads, readSnippet, scoreScale, writeSnippet } from "./access.ts";
import tiledCode from "./tiled.wgsl" with { type: "text" };

/** Packed rows (token, head of a group) that a workgroup takes at most. */
const MOST_ROWS = 32;
/** Workgroup memory for a tile of K or V, of the 16 KiB that every adapter has. */
const TILE_BYTES = 8192;

/** Tokens per attention tile that fill a workgroup's rows; at most a block. */
export function tiledTileTokens(node: AttentionNode): number {
  const group = node.numHeads / node.numKvHeads;
  return Math.min(BLOCK_SIZE, Math.max(1, Math.floor(MOST_ROWS / group)));
}

interface Tiling {
  readonly rows: number;
  readonly keys: number;
  /** Threads side by side in a row of the output, and rows that each of them has. */
  readonly columnLanes: number;
  readonly outputRows: number;
  readonly quads: number;
}

/**
 * The one dispatch of the tiled form; without `decodes` it leaves steps of single tokens to the split form.
 * @throws {RangeError} when the head is too large for workgroup memory.
 */
export function tiledCall(
  node: AttentionNode,
  context: GpuContext,
  { decodes }: { decodes: boolean },
): KernelCall {
  const group = node.numHeads / node.numKvHeads;
  const tiling = chooseTiling(node, context.layout.tileTokens * group);
  const cache = context.kvCache(node.layer);
  const rowGroups = Math.ceil(context.layout.tileTokens * group / tiling.rows);
  const output = writeSnippet(node, context, 4);
  return {
    label: `attention ${node.layer} tiled`,
    code: tiledForm(node, context, tiling, output.code),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: cache.key, access: "read" },
      { buffer: cache.value, access: "read" },
      ...output.bindings,
    ],
    work: attentionWork(node, context, "f32"),
    grid: ({ numTiles, maxQueryLength }) => {
      if (numTiles === 0 || (maxQueryLength === 1 && !decodes)) return undefined;
      return [numTiles, node.numKvHeads, rowGroups];
    },
  };
}

function chooseTiling(node: AttentionNode, packedRows: number): Tiling {
  const quads = headQuads(node);
  const keys = [32, 16, 8].find((count) => count * quads * 16 <= TILE_BYTES);
  if (!keys) {
    throw new RangeError(
      `Cannot lower graph: attention heads must have at most ${
        TILE_BYTES / 32
      } columns, received ${node.headSize}`,
    );
  }
  const columnLanes = quads <= 8 ? 8 : 16;
  return {
    rows: packedRows <= MOST_ROWS / 2 ? MOST_ROWS / 2 : MOST_ROWS,
    keys,
    columnLanes,
    outputRows: columnLanes / 4,
    quads,
  };
}

function tiledForm(node: AttentionNode, context: GpuContext, tiling: Tiling, output: string): string {
  const { rows, keys, columnLanes, outputRows, quads } = tiling;
  const constants = {
    ...attentionConstants(node, context),
    ROWS: rows,
    KEYS: keys,
    COLUMN_LANES: columnLanes,
    OUTPUT_ROWS: outputRows,
    SCORE_TURN: scoreTurn(quads),
    SCALE: scoreScale(node),
  };
  return specialise(tiledCode, constants, {
    access: `${readSnippet(node, context, 1)}\n${output}`,
    loadKeys: loadLines("key", quads),
    loadValues: loadLines("value", quads),
    firstSeen: `let firstSeen = (${firstSeen(node, "fewestKeys")}) / KEYS * KEYS;`,
    ...scoreSnippets(tiling, node),
    ...softmaxSnippets(tiling),
    ...outputSnippets(tiling),
  });
}

/** Fours of columns by which a loop over a head advances: few, because software Vulkan compiles long code slowly. */
export function scoreTurn(quads: number): number {
  return quads % 2 === 0 ? 2 : 1;
}

function loadLines(name: string, quads: number): string {
  return unroll(Math.ceil(quads / 8), (i) =>
    `{ let quad = teamLane + ${8 * i}u;
if (quad < HEAD_QUADS) {
  tile[key * TILE_STRIDE + quad] = select(vec4<f32>(), ${name}Quad(slot, kvHead, quad), present);
} }`);
}

/** A thread's scores: two rows by every eighth key. */
function scoreSnippets({ keys, rows, quads }: Tiling, node: AttentionNode): Record<string, string> {
  const seen = (key: number, row: number) => {
    const position = `firstKey + teamLane + ${8 * key}u`, before = `${position} < limit${row}`;
    return node.window === undefined
      ? before
      : `${before} && ${position} >= ${firstSeen(node, `limit${row}`)}`;
  };
  const each = (line: (key: number, row: number) => string) =>
    unroll(keys / 8, (key) => unroll(2, (row) => line(key, row)));
  return {
    scoreSums: each((key, row) => `var s${key}_${row} = vec4<f32>();`),
    score: unroll(scoreTurn(quads), (turn) =>
      [
        `{ let q0 = queryQuad(token0, head0, quad + ${turn}u); let q1 = queryQuad(token1, head1, quad + ${turn}u);`,
        unroll(keys / 8, (key) =>
          `{ let k = tile[(teamLane + ${8 * key}u) * TILE_STRIDE + quad + ${turn}u];
s${key}_0 = fma(q0, k, s${key}_0); s${key}_1 = fma(q1, k, s${key}_1); }`),
        "}",
      ].join("\n")),
    storeScores: each((key, row) =>
      `scores[(team + ${row * rows / 2}u) * SCORE_STRIDE + teamLane + ${8 * key}u] =
  select(MASKED, SCALE * dot(s${key}_${row}, vec4<f32>(1.0)), ${seen(key, row)});`
    ),
  };
}

/** A row's four threads take every fourth key each. */
function softmaxSnippets({ keys }: Tiling): Record<string, string> {
  return {
    laneMost: unroll(keys / 4, (i) => `laneMost = max(laneMost, scores[firstScore + ${4 * i}u]);`),
    exponentials: unroll(keys / 4, (i) =>
      `{ let score = scores[firstScore + ${4 * i}u];
let weight = select(0.0, exp2(score - most), score > 0.5 * MASKED);
scores[firstScore + ${4 * i}u] = weight; laneSum += weight; }`),
  };
}

/** A thread's part of the output: OUTPUT_ROWS rows by every COLUMN_LANES-th four of columns. */
function outputSnippets({ columnLanes, outputRows, quads }: Tiling): Record<string, string> {
  const columns = Math.ceil(quads / columnLanes);
  const each = (line: (row: number, column: number) => string) =>
    unroll(outputRows, (row) => unroll(columns, (column) => line(row, column)));
  return {
    // Lanes beyond the head do its last columns again, and store nothing.
    columns: unroll(
      columns,
      (column) => `let column${column} = min(columnLane + ${column * columnLanes}u, HEAD_QUADS - 1u);`,
    ),
    accumulators: each((row, column) => `var y${row}_${column} = vec4<f32>();`),
    rescale: unroll(outputRows, (row) =>
      `{ let earlier = rescale[outputRow + ${row}u];
${unroll(columns, (column) => `y${row}_${column} *= earlier;`)} }`),
    accumulate: unroll(4, (turn) =>
      [
        "{",
        unroll(
          columns,
          (column) => `let v${column} = tile[(key + ${turn}u) * TILE_STRIDE + column${column}];`,
        ),
        unroll(
          outputRows,
          (row) => `let w${row} = vec4<f32>(scores[(outputRow + ${row}u) * SCORE_STRIDE + key + ${turn}u]);`,
        ),
        each((row, column) => `y${row}_${column} = fma(w${row}, v${column}, y${row}_${column});`),
        "}",
      ].join("\n")),
    store: unroll(outputRows, (row) =>
      `{ let packed = firstPacked + outputRow + ${row}u;
let lane = 4u * (outputRow + ${row}u);
let sum = (laneValues[lane] + laneValues[lane + 1u]) + (laneValues[lane + 2u] + laneValues[lane + 3u]);
if (packed <= lastPacked) {
  let token = tokenOf(firstRow, packed);
  let head = kvHead * GROUP + packed % GROUP;
${
        unroll(columns, (column) =>
          `  if (columnLane + ${
            column * columnLanes
          }u < HEAD_QUADS) { storeOutput(token, head, column${column}, y${row}_${column} / sum); }`)
      }
} }`),
  };
}
