// Writes the split of attention of single new tokens on matrix units (split_matrix.wgsl): knows when that form may be
// taken, and writes its fragments out.
import type { MatrixFragment } from "../../device/caps.ts";
import type { GpuContext } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { PACK_HALVES } from "../half_values.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import { firstSeen, scoreScale } from "./access.ts";
import { firstKeyLine, type Splitting } from "./split.ts";
import splitMatrixCode from "./split_matrix.wgsl" with { type: "text" };

/** Scores that a lane has: a 16-byte word of halves. */
const LANE_SCORES = 8;

/**
 * The form's WGSL for the sizes that every attention kernel knows, KEYS and SPLITS; undefined where it does not serve the
 * node: heads of a group, and columns of a head, must be whole fragments, a thread for each word of a key, and the cache
 * f16.
 */
export function matrixSplit(
  node: AttentionNode,
  context: GpuContext,
  { keys, headGroups }: Splitting,
  storesOwn: boolean,
): ((constants: Readonly<Record<string, number>>) => string) | undefined {
  const { matrixFragment: fragment, subgroupMaxSize: lanes, maxInvocations } = context.caps;
  if (!fragment || context.kvCache(node.layer).type !== "f16") return undefined;
  const { m } = fragment, group = node.numHeads / node.numKvHeads, threads = keys / m * lanes;
  const fits = group === headGroups * m && node.headSize % m === 0 && keys % m === 0 &&
    BLOCK_SIZE % m === 0 &&
    m * m === LANE_SCORES * lanes && node.headSize % LANE_SCORES === 0 &&
    node.headSize / LANE_SCORES <= threads && threads <= maxInvocations;
  if (!fits) return undefined;
  return (constants) => {
    const code = specialise(splitMatrixCode, {
      ...constants,
      HEAD_GROUPS: headGroups,
      FRAGMENT: m,
      LANES: lanes,
      THREADS: threads,
      FIRST_KEY: node.numHeads,
      FIRST_VALUE: node.numHeads + node.numKvHeads,
      SCALE: scoreScale(node),
    }, {
      cache: cacheSnippet(storesOwn),
      storeOwn: storesOwn ? STORE_OWN : "",
      firstKey: firstKeyLine(node, keys),
      seen: node.window === undefined ? "" : maskWindow(firstSeen(node, "context")),
      pack: PACK_HALVES,
      ...productSnippets(node, fragment, keys),
    });
    return `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
enable chromium_disable_uniformity_analysis;
${code}`;
  };
}

/** @param seen WGSL for the first position that the token sees */
function maskWindow(seen: string): string {
  return unroll(
    2,
    (i) => `s${i} = select(vec4<f32>(MASKED), s${i}, key + ${4 * i}u >= vec4<u32>(${seen}));`,
  );
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

/**
 * Scores of the subgroup's keys; then, of every SUBGROUPSth fragment of columns, the values of all keys, which are asked
 * for before the exponentials are known.
 */
function productSnippets(
  { headSize }: AttentionNode,
  { m: size }: MatrixFragment,
  keys: number,
): Record<string, string> {
  const slices = headSize / size, subgroups = keys / size;
  const turns = Math.ceil(slices / subgroups);
  const column = (turn: number) => `subgroup + ${turn * subgroups}u`;
  const guard = (turn: number, code: string) =>
    (turn + 1) * subgroups <= slices ? `{ ${code} }` : `if (${column(turn)} < ${slices}u) { ${code} }`;
  return {
    loadKeys: unroll(
      slices,
      (s) =>
        `let key${s} = subgroupMatrixLoad<Right, col_major>(&keys, keyAt + ${s * size / 8}u, CACHE_STRIDE);`,
    ),
    scores: unroll(
      slices,
      (s) =>
        `score = subgroupMatrixMultiplyAccumulate(subgroupMatrixLoad<Left, row_major>(&query, ${
          s * size / 8
        }u, QUERY_STRIDE), key${s}, score);`,
    ),
    valuePlaces: unroll(
      subgroups,
      (b) => `let valueAt${b} = cacheAt(blockTable, firstKey + ${b * size}u, context, kvHead);`,
    ),
    loadValues: unroll(
      turns,
      (turn) =>
        unroll(
          subgroups,
          (b) =>
            `let value${turn}_${b} = subgroupMatrixLoad<Right, row_major>(&values, valueAt${b} + ${
              (turn + 1) * subgroups <= slices ? `(${column(turn)})` : `min(${column(turn)}, ${slices - 1}u)`
            } * ${size / 8}u, CACHE_STRIDE);`,
        ),
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
${unroll(subgroups, (b) => `sum = subgroupMatrixMultiplyAccumulate(weights${b}, value${turn}_${b}, sum);`)}
subgroupMatrixStore<row_major>(&partials, firstPartial + (${column(turn)}) * ${size / 4}u, sum, HEAD_QUADS);`,
      )),
  };
}
