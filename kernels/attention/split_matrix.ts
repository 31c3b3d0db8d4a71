// Writes the split of attention of single new tokens on matrix units (split_matrix.wgsl): knows when that form may be
// taken, and writes its fragments out.
import type { MatrixFragment } from "../../device/caps.ts";
import type { GpuContext } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { PACK_HALVES } from "../half_values.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import {
  cacheOrder,
  cacheSnippet,
  type DivisionContext,
  firstSeen,
  headQuads,
  scoreScale,
} from "./access.ts";
import { firstKeyLine, type Splitting } from "./split.ts";
import splitMatrixCode from "./split_matrix.wgsl" with { type: "text" };

/** Scores that a lane has: a 16-byte word of halves. */
const LANE_SCORES = 8;
/** Keys of a split, the first that there is room for. */
const KEY_COUNTS = [64, 32, 16];
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
  /** Subgroups that share the values of a slice of columns. */
  readonly valueTeams: number;
  /** Of workgroup memory, 16-byte words: for scores, and later for what each value team has summed. */
  readonly scoreWords: number;
}

/**
 * Undefined where the form does not serve the node: the cache must be in tiles, a group's heads one fragment for each
 * workgroup, the scores of a head in one subgroup, and a thread for each word of a key.
 */
function divide(
  node: AttentionNode,
  context: DivisionContext,
  headGroups: number,
  keys: number,
): MatrixDivision | undefined {
  const { matrixFragment: fragment, subgroupMaxSize: lanes, maxInvocations, maxWorkgroupBytes } =
    context.caps;
  if (!fragment || cacheOrder(node, context) !== "tiles") return undefined;
  const { m } = fragment, group = node.numHeads / node.numKvHeads, scoreThreads = keys / m * lanes;
  const fits = group === headGroups * m && keys % m === 0 && m * m === LANE_SCORES * lanes &&
    keys / LANE_SCORES <= lanes && node.headSize / LANE_SCORES <= scoreThreads &&
    scoreThreads <= maxInvocations;
  if (!fits) return undefined;
  const shares = node.headSize % (DEEP * BLOCK_SIZE) === 0 && DEEP * scoreThreads <= maxInvocations;
  const deep = shares ? DEEP : 1, keyGroups = keys / m;
  const valueTeams = Math.min(Math.max(1, Math.floor(deep * keyGroups / (node.headSize / m))), keyGroups);
  const scoreWords = m * Math.max(deep * (keys / 4 + 1), valueTeams * (headQuads(node) + 1));
  const words = m * (node.headSize / 8 + 1) + scoreWords + m * (keys / 8 + 1);
  if (16 * words > maxWorkgroupBytes || keyGroups % valueTeams !== 0) return undefined;
  return { fragment, lanes, scoreThreads, deep, valueTeams, scoreWords };
}

/** Keys of a split of the form; undefined where it does not serve the node. */
export function matrixKeys(
  node: AttentionNode,
  context: DivisionContext,
  headGroups: number,
): number | undefined {
  return KEY_COUNTS.find((keys) => divide(node, context, headGroups, keys));
}

/** The form's WGSL for the sizes that every attention kernel knows, KEYS and SPLITS. */
export function matrixSplit(
  node: AttentionNode,
  context: GpuContext,
  splitting: Splitting,
  storesOwn: boolean,
): ((constants: Readonly<Record<string, number>>) => string) | undefined {
  const { keys, headGroups, ownSplit } = splitting;
  const division = divide(node, context, headGroups, keys);
  if (!division) return undefined;
  const { fragment, lanes, scoreThreads, deep, valueTeams, scoreWords } = division, { m } = fragment;
  return (constants) => {
    const code = specialise(splitMatrixCode, {
      ...constants,
      HEAD_GROUPS: headGroups,
      LANES: lanes,
      OWN_SPLITS: ownSplit ? 1 : 0,
      FRAGMENT: m,
      DEEP: deep,
      DEEP_COLUMNS: node.headSize / deep,
      KEY_SUBGROUPS: keys / m,
      SCORE_THREADS: scoreThreads,
      THREADS: deep * scoreThreads,
      MEMORY_WORDS: scoreWords,
      SLICES: node.headSize / m,
      VALUE_TEAMS: valueTeams,
      KV_TILE_WORDS,
      KV_ROW_WORDS,
      FIRST_KEY: node.numHeads,
      FIRST_VALUE: node.numHeads + node.numKvHeads,
      SCALE: scoreScale(node),
    }, {
      cache: `${cacheBindings(storesOwn)}\n${cacheSnippet(node, context)}`,
      storeOwn: storesOwn && !ownSplit ? STORE_OWN : "",
      ownSplit: ownSplit ? OWN_SPLIT : "",
      firstKey: firstKeyLine(node, keys),
      seen: node.window === undefined ? "" : maskWindow(firstSeen(node, "context")),
      pack: PACK_HALVES,
      ...productSnippets(node, division, keys),
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

function cacheBindings(storesOwn: boolean): string {
  const access = storesOwn ? "read_write" : "read";
  return ["keys", "values"].map((name, i) =>
    `@group(0) @binding(${i + 2}) var<storage, ${access}> ${name}: array<vec4<u32>>;`
  ).join("\n");
}

const STORE_OWN = `    if (context - firstKey <= KEYS && thread < HEAD_WORDS) {
        let at = cacheWord(control[SLOT_MAPPING + token], kvHead, thread);
        keys[at] = activationWord(token, FIRST_KEY + kvHead, thread);
        values[at] = activationWord(token, FIRST_VALUE + kvHead, thread);
    }
    storageBarrier();`;

/** The first workgroup of all heads has them; that of the first heads stores them as well. */
const OWN_SPLIT = `    if (group.z == 0u) {
        if (group.y % HEAD_GROUPS == 0u && thread < HEAD_WORDS) {
            let at = cacheWord(control[SLOT_MAPPING + token], kvHead, thread);
            keys[at] = activationWord(token, FIRST_KEY + kvHead, thread);
            values[at] = activationWord(token, FIRST_VALUE + kvHead, thread);
        }
        let firstOwn = token * SPLITS * NUM_HEADS + firstHead;
        for (var place = thread; place < FRAGMENT * HEAD_QUADS; place += THREADS) {
            partials[firstOwn * HEAD_QUADS + place] = activationQuad(token, FIRST_VALUE + kvHead, place % HEAD_QUADS);
        }
        for (var head = subgroup; head < FRAGMENT; head += THREADS / LANES) {
            var products = vec4<f32>();
            for (var quad = lane; quad < HEAD_QUADS; quad += LANES) {
                products = fma(
                    activationQuad(token, firstHead + head, quad), activationQuad(token, FIRST_KEY + kvHead, quad), products,
                );
            }
            let score = SCALE * subgroupAdd(dot(products, vec4<f32>(1.0)));
            if (lane == 0u) { sums[firstOwn + head] = vec2<f32>(score, 1.0); }
        }
    }`;

/** Words from where a row of tiles begins to a column of it. */
function tileWords(column: number): number {
  return Math.floor(column / BLOCK_SIZE) * KV_TILE_WORDS + column % BLOCK_SIZE / 8;
}

/**
 * Scores of the subgroup's keys by its columns; then, of every SUBGROUPSth slice of columns, the values of all keys, or,
 * where several subgroups have a slice, of every VALUE_TEAMSth fragment of keys. They are asked for before the
 * exponentials are known.
 */
function productSnippets(
  { headSize }: AttentionNode,
  { fragment: { m: size }, deep, valueTeams }: MatrixDivision,
  keys: number,
): Record<string, string> {
  const slices = headSize / size, keyGroups = keys / size, subgroups = keyGroups * deep;
  const turns = Math.ceil(slices / subgroups), shared = valueTeams > 1;
  const column = (turn: number) => shared ? "subgroup % SLICES" : `subgroup + ${turn * subgroups}u`;
  const isWhole = (turn: number) =>
    shared ? subgroups === slices * valueTeams : (turn + 1) * subgroups <= slices;
  const isPresent = (turn: number) => shared ? "valueTeam < VALUE_TEAMS" : `${column(turn)} < SLICES`;
  const guard = (turn: number, code: string) =>
    isWhole(turn) ? `{ ${code} }` : `if (${isPresent(turn)}) { ${code} }`;
  const keyGroup = (i: number) => shared ? `min(valueTeam, VALUE_TEAMS - 1u) + ${i * valueTeams}u` : `${i}u`;
  const ofTeam = keyGroups / valueTeams;
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
      ofTeam,
      (i) => `let valueAt${i} = cacheAt(blockTable, firstKey + (${keyGroup(i)}) * FRAGMENT, end, kvHead);`,
    ),
    loadValues: unroll(
      turns,
      (turn) =>
        unroll(
          ofTeam,
          (i) =>
            `let value${turn}_${i} = subgroupMatrixLoad<Right, row_major>(&values, valueAt${i} + sliceWords(${
              shared || isWhole(turn) ? column(turn) : `min(${column(turn)}, SLICES - 1u)`
            }), KV_ROW_WORDS);`,
        ),
    ),
    loadWeights: unroll(
      ofTeam,
      (i) =>
        `let weights${i} = subgroupMatrixLoad<Left, row_major>(&weights, (${
          keyGroup(i)
        }) * (FRAGMENT / 8u), WEIGHT_STRIDE);`,
    ),
    outputs: unroll(turns, (turn) =>
      guard(
        turn,
        `var sum = Sum();
${unroll(ofTeam, (i) => `sum = subgroupMatrixMultiplyAccumulate(weights${i}, value${turn}_${i}, sum);`)}
${
          shared
            ? `subgroupMatrixStore<row_major>(&scores, valueTeam * FRAGMENT * OUTPUT_ROW + ${
              column(turn)
            } * (FRAGMENT / 4u), sum, OUTPUT_ROW);`
            : `subgroupMatrixStore<row_major>(&partials, firstPartial + (${
              column(turn)
            }) * (FRAGMENT / 4u), sum, HEAD_QUADS);`
        }`,
      )),
    joinTeams: shared ? JOIN_TEAMS : "",
  };
}

const JOIN_TEAMS = `    workgroupBarrier();
    for (var place = thread; place < FRAGMENT * HEAD_QUADS; place += THREADS) {
        let at = place / HEAD_QUADS * OUTPUT_ROW + place % HEAD_QUADS;
        var sum = scores[at];
        for (var other = 1u; other < VALUE_TEAMS; other++) { sum += scores[other * FRAGMENT * OUTPUT_ROW + at]; }
        partials[firstPartial + place] = sum;
    }`;
