// Writes the split of attention of single new tokens on matrix units (split_matrix.wgsl): knows when that form may be
// taken, and writes its fragments out.
import type { MatrixFragment } from "../../device/caps.ts";
import type { GpuContext } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { PACK_HALVES } from "../half_values.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import { cacheOrder, cacheSnippet, type DivisionContext, firstSeen, scoreScale } from "./access.ts";
import { firstKeyLine, type Splitting } from "./split.ts";
import splitMatrixCode from "./split_matrix.wgsl" with { type: "text" };

/** Scores that a lane has: a 16-byte word of halves. */
const LANE_SCORES = 8;
/** Subgroups that share the columns of a key, at best: more threads, each with fewer of the fragments on their way. */
const DEEP = 2;
/** Words from one tile of the cache to the next, and from token to token within one. */
const KV_TILE_WORDS = BLOCK_SIZE ** 2 / 8;
const KV_ROW_WORDS = BLOCK_SIZE / 8;

/** How the form divides a split among its subgroups. */
interface MatrixDivision {
  readonly fragment: MatrixFragment;
  readonly lanes: number;
  readonly scoreThreads: number;
  readonly deep: number;
}

/**
 * Undefined where the form does not serve the node: the cache must be in tiles, a group's heads one fragment for each
 * workgroup, and a thread there for each word of a key.
 */
function divide(
  node: AttentionNode,
  context: DivisionContext,
  { keys, headGroups }: Pick<Splitting, "keys" | "headGroups">,
): MatrixDivision | undefined {
  const { matrixFragment: fragment, subgroupMaxSize: lanes, maxInvocations } = context.caps;
  if (!fragment || cacheOrder(node, context) !== "tiles") return undefined;
  const { m } = fragment, group = node.numHeads / node.numKvHeads, scoreThreads = keys / m * lanes;
  const fits = group === headGroups * m && keys % m === 0 && m * m === LANE_SCORES * lanes &&
    node.headSize / LANE_SCORES <= scoreThreads && scoreThreads <= maxInvocations;
  if (!fits) return undefined;
  const shares = node.headSize % (DEEP * BLOCK_SIZE) === 0 && DEEP * scoreThreads <= maxInvocations;
  return { fragment, lanes, scoreThreads, deep: shares ? DEEP : 1 };
}

/** Whether the form serves the node. */
export function servesMatrixSplit(
  node: AttentionNode,
  context: DivisionContext,
  splitting: Pick<Splitting, "keys" | "headGroups">,
): boolean {
  return divide(node, context, splitting) !== undefined;
}

/** The form's WGSL for the sizes that every attention kernel knows, KEYS and SPLITS. */
export function matrixSplit(
  node: AttentionNode,
  context: GpuContext,
  splitting: Splitting,
): ((constants: Readonly<Record<string, number>>) => string) | undefined {
  const division = divide(node, context, splitting);
  if (!division) return undefined;
  const { keys, headGroups } = splitting;
  const { fragment, lanes, scoreThreads, deep } = division, { m } = fragment;
  return (constants) => {
    const code = specialise(splitMatrixCode, {
      ...constants,
      HEAD_GROUPS: headGroups,
      LANES: lanes,
      FRAGMENT: m,
      DEEP: deep,
      DEEP_COLUMNS: node.headSize / deep,
      KEY_SUBGROUPS: keys / m,
      SCORE_THREADS: scoreThreads,
      THREADS: deep * scoreThreads,
      KV_TILE_WORDS,
      KV_ROW_WORDS,
      FIRST_KEY: node.numHeads,
      FIRST_VALUE: node.numHeads + node.numKvHeads,
      SCALE: scoreScale(node),
    }, {
      cache: cacheSnippet(node, context),
      firstKey: firstKeyLine(node, keys, "group.z - 1u"),
      seen: node.window === undefined ? "" : maskWindow(firstSeen(node, "context")),
      pack: PACK_HALVES,
      ...productSnippets(node, fragment, keys, deep),
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

/** Words from where a row of tiles begins to a column of it. */
function tileWords(column: number): number {
  return Math.floor(column / BLOCK_SIZE) * KV_TILE_WORDS + column % BLOCK_SIZE / 8;
}

/**
 * Scores of the subgroup's keys by its columns; then, of every SUBGROUPSth fragment of columns, the values of all keys,
 * which are asked for before the exponentials are known.
 */
function productSnippets(
  { headSize }: AttentionNode,
  { m: size }: MatrixFragment,
  keys: number,
  deep: number,
): Record<string, string> {
  const slices = headSize / size, keyGroups = keys / size, subgroups = keyGroups * deep;
  const turns = Math.ceil(slices / subgroups);
  const column = (turn: number) => `subgroup + ${turn * subgroups}u`;
  const guard = (turn: number, code: string) =>
    (turn + 1) * subgroups <= slices ? `{ ${code} }` : `if (${column(turn)} < ${slices}u) { ${code} }`;
  return {
    loadKeys: unroll(
      slices / deep,
      (s) =>
        `let key${s} = subgroupMatrixLoad<Right, col_major>(&keys, keyAt + ${
          tileWords(s * size)
        }u, KV_ROW_WORDS);`,
    ),
    scores: unroll(
      slices / deep,
      (s) =>
        `score = subgroupMatrixMultiplyAccumulate(subgroupMatrixLoad<Left, row_major>(&query, queryAt + ${
          s * size / 8
        }u, QUERY_STRIDE), key${s}, score);`,
    ),
    valuePlaces: unroll(
      keyGroups,
      (b) => `let valueAt${b} = cacheAt(blockTable, firstKey + ${b * size}u, end, kvHead);`,
    ),
    loadValues: unroll(
      turns,
      (turn) =>
        unroll(
          keyGroups,
          (b) =>
            `let value${turn}_${b} = subgroupMatrixLoad<Right, row_major>(&values, valueAt${b} + sliceWords(${
              (turn + 1) * subgroups <= slices ? column(turn) : `min(${column(turn)}, ${slices - 1}u)`
            }), KV_ROW_WORDS);`,
        ),
    ),
    loadWeights: unroll(
      keyGroups,
      (b) =>
        `let weights${b} = subgroupMatrixLoad<Left, row_major>(&weights, ${b * size / 8}u, WEIGHT_STRIDE);`,
    ),
    outputs: unroll(turns, (turn) =>
      guard(
        turn,
        `var sum = Sum();
${unroll(keyGroups, (b) => `sum = subgroupMatrixMultiplyAccumulate(weights${b}, value${turn}_${b}, sum);`)}
subgroupMatrixStore<row_major>(&partials, firstPartial + (${column(turn)}) * ${size / 4}u, sum, HEAD_QUADS);`,
      )),
  };
}
