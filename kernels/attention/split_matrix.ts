// Writes the split of attention of single new tokens on matrix units (split_matrix.wgsl): knows when that form may be
// taken, and writes its fragments out.
import type { MatrixFragment } from "../../device/caps.ts";
import type { GpuContext } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { PACK_HALVES } from "../half_values.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import { scoreScale } from "./access.ts";
import type { Splitting } from "./split.ts";
import splitMatrixCode from "./split_matrix.wgsl" with { type: "text" };

/** Scores that a lane has: a 16-byte word of halves. */
const LANE_SCORES = 8;

/**
 * The form's WGSL for the sizes that every attention kernel knows, KEYS and SPLITS; undefined where it does not serve the
 * node: heads of a group, and columns of a head, must be whole fragments, and the cache f16.
 */
export function matrixSplit(
  node: AttentionNode,
  context: GpuContext,
  { keys, headGroups }: Splitting,
  storesOwn: boolean,
): ((constants: Readonly<Record<string, number>>) => string) | undefined {
  const { matrixFragment: fragment, subgroupMaxSize: lanes, maxInvocations, maxWorkgroupBytes } =
    context.caps;
  if (!fragment || context.kvCache(node.layer).type !== "f16") return undefined;
  const { m } = fragment, group = node.numHeads / node.numKvHeads;
  const fits = group === headGroups * m && node.headSize % m === 0 && keys % m === 0 &&
    BLOCK_SIZE % m === 0 &&
    m * m === LANE_SCORES * lanes && node.headSize % LANE_SCORES === 0 &&
    keys / m * lanes <= maxInvocations &&
    memoryBytes(node, m, keys) <= maxWorkgroupBytes;
  if (!fits) return undefined;
  return (constants) => {
    const code = specialise(splitMatrixCode, {
      ...constants,
      HEAD_GROUPS: headGroups,
      FRAGMENT: m,
      LANES: lanes,
      THREADS: keys / m * lanes,
      FIRST_KEY: node.numHeads,
      FIRST_VALUE: node.numHeads + node.numKvHeads,
      SCALE: scoreScale(node),
    }, {
      cache: cacheSnippet(storesOwn),
      storeOwn: storesOwn ? STORE_OWN : "",
      pack: PACK_HALVES,
      ...productSnippets(node, fragment, lanes, keys),
    });
    return `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
enable chromium_disable_uniformity_analysis;
${code}`;
  };
}

/** Workgroup memory: the tile, the queries, the scores and the weights, as split_matrix.wgsl declares them. */
function memoryBytes({ headSize }: AttentionNode, size: number, keys: number): number {
  return ((keys + size) * (headSize / 8 + 1) + size * (keys / 4 + 1) + size * (keys / 8 + 1)) * 16;
}

function cacheSnippet(storesOwn: boolean): string {
  const access = storesOwn ? "read_write" : "read";
  return ["keys", "values"].map((name, i) =>
    `@group(0) @binding(${i + 2}) var<storage, ${access}> ${name}: array<vec4<u32>>;`
  ).join("\n");
}

const STORE_OWN = `    if (context - firstKey <= KEYS && thread < HEAD_WORDS) {
        let at = control[SLOT_MAPPING + token] * CACHE_STRIDE + kvHead * HEAD_WORDS + thread;
        keys[at] = activationWord(token, FIRST_KEY + kvHead, thread);
        values[at] = activationWord(token, FIRST_VALUE + kvHead, thread);
    }
    storageBarrier();`;

/** A thread's share of keys and values, all asked for at once; scores of a subgroup's keys; then its columns of the output. */
function productSnippets(
  { headSize }: AttentionNode,
  { m: size }: MatrixFragment,
  lanes: number,
  keys: number,
): Record<string, string> {
  const slices = headSize / size, subgroups = keys / size, threads = subgroups * lanes, words = headSize / 8;
  const turns = Math.ceil(slices / subgroups), loads = Math.ceil(keys * words / threads);
  const place = (i: number) => `(thread + ${i * threads}u)`;
  const column = (turn: number) => `subgroup + ${turn * subgroups}u`;
  const guard = (turn: number, code: string) =>
    (turn + 1) * subgroups <= slices ? `{ ${code} }` : `if (${column(turn)} < ${slices}u) { ${code} }`;
  const keep = (name: string) =>
    unroll(loads, (i) => {
      const line = `tile[${place(i)} / HEAD_WORDS * TILE_STRIDE + ${place(i)} % HEAD_WORDS] = ${name}${i};`;
      return (i + 1) * threads <= keys * words ? line : `if (${place(i)} < ${keys * words}u) { ${line} }`;
    });
  return {
    load: unroll(
      loads,
      (i) =>
        `let at${i} = cacheAt(blockTable, firstKey + min(${
          place(i)
        } / HEAD_WORDS, KEYS - 1u), context, kvHead) + ${place(i)} % HEAD_WORDS;
let key${i} = keys[at${i}];
let value${i} = values[at${i}];`,
    ),
    keepKeys: keep("key"),
    keepValues: keep("value"),
    scores: unroll(
      slices,
      (s) =>
        `score = subgroupMatrixMultiplyAccumulate(subgroupMatrixLoad<Left, row_major>(&query, ${
          s * size / 8
        }u, TILE_STRIDE), subgroupMatrixLoad<Right, col_major>(&tile, subgroup * FRAGMENT * TILE_STRIDE + ${
          s * size / 8
        }u, TILE_STRIDE), score);`,
    ),
    loadWeights: unroll(
      subgroups,
      (b) =>
        `let weights${b} = subgroupMatrixLoad<Left, row_major>(&weights, ${b * size / 8}u, WEIGHT_STRIDE);`,
    ),
    outputs: unroll(turns, (turn) =>
      guard(
        turn,
        `var sum = Sum();
${
          unroll(subgroups, (b) =>
            `sum = subgroupMatrixMultiplyAccumulate(weights${b}, subgroupMatrixLoad<Right, row_major>(&tile, ${
              b * size
            }u * TILE_STRIDE + (${column(turn)}) * ${size / 8}u, TILE_STRIDE), sum);`)
        }
subgroupMatrixStore<row_major>(&partials, firstPartial + (${column(turn)}) * ${
          size / 4
        }u, sum, SPLITS * HEAD_QUADS);`,
      )),
  };
}
