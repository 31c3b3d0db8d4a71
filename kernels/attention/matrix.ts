// Lowers attention of many tokens to matrix units (matrix.wgsl): knows when that form may be taken, how it divides its
// work, and writes its fragments out.
import type { GpuCaps, MatrixFragment, Profile } from "../../device/caps.ts";
import type { GpuContext, KernelCall } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import { attentionWork } from "../work.ts";
import {
  attentionConstants,
  cacheOrder,
  cacheSnippet,
  firstSeen,
  scoreScale,
  writeSnippet,
} from "./access.ts";
import type { KvOrder } from "./kv_layout.ts";
import matrixCode from "./matrix.wgsl" with { type: "text" };

/** Rows of fragments, a subgroup each, that a workgroup takes at most. */
const MOST_SUBGROUPS = 4;
/** More columns of a head would not fit a subgroup's registers. */
const MOST_HEAD_COLUMNS = 128;

interface MatrixTiling {
  readonly fragment: MatrixFragment;
  readonly lanes: number;
  readonly subgroups: number;
  /** Keys at once. */
  readonly keys: number;
  /** Fragments across a head. */
  readonly headFragments: number;
}

/**
 * Tokens per attention tile that fill a workgroup of this form, at most a block; undefined where the form does not serve
 * the node.
 */
export function matrixTileTokens(node: AttentionNode, profile: Profile, caps: GpuCaps): number | undefined {
  const { matrixFragment } = caps;
  if (profile === "safe" || !matrixFragment || !fits(node, matrixFragment, caps)) return undefined;
  const group = node.numHeads / node.numKvHeads;
  return Math.min(BLOCK_SIZE, Math.max(1, Math.floor(MOST_SUBGROUPS * matrixFragment.m / group)));
}

/** Rows of the cache and of the activations must be whole words, heads whole fragments, and a workgroup what caps allow. */
function fits({ headSize }: AttentionNode, fragment: MatrixFragment, caps: GpuCaps): boolean {
  return headSize % 16 === 0 && headSize % fragment.n === 0 && headSize <= MOST_HEAD_COLUMNS &&
    dividesAmongLanes(fragment, caps.subgroupMaxSize) &&
    MOST_SUBGROUPS * caps.subgroupMaxSize <= caps.maxInvocations &&
    memoryBytes(headSize, fragment) <= caps.maxWorkgroupBytes;
}

/** Whether every lane has as many fours of a fragment, and words of exponentials, as any other: at least one. */
function dividesAmongLanes(fragment: MatrixFragment, lanes: number): boolean {
  const { m, n } = fragment;
  return lanes % m === 0 && m * n / 4 % lanes === 0 && m * keysAtOnce(fragment) / 8 % lanes === 0;
}

/** Workgroup memory of the form, with as many subgroups as it may have. */
function memoryBytes(headSize: number, fragment: MatrixFragment): number {
  const rows = MOST_SUBGROUPS * fragment.m, keys = keysAtOnce(fragment);
  const tile = Math.max(rows, keys) * (headSize / 8 + 1), patches = rows * (keys / 4 + 1);
  return (tile + patches + rows * fragment.n / 4) * 16 + rows * 4 + 4;
}

function keysAtOnce({ n }: MatrixFragment): number {
  return 4 * n;
}

/** The one dispatch, for steps of more than single tokens; undefined where the form does not serve the node. */
export function matrixCall(node: AttentionNode, context: GpuContext): KernelCall | undefined {
  const cache = context.kvCache(node.layer);
  const { matrixFragment, subgroupMaxSize } = context.caps;
  if (!matrixTileTokens(node, context.profile, context.caps) || cache.type !== "f16") return undefined;
  const packedRows = context.layout.tileTokens * node.numHeads / node.numKvHeads;
  const tiling = {
    fragment: matrixFragment!,
    lanes: subgroupMaxSize,
    subgroups: Math.min(MOST_SUBGROUPS, Math.ceil(packedRows / matrixFragment!.m)),
    keys: keysAtOnce(matrixFragment!),
    headFragments: node.headSize / matrixFragment!.n,
  };
  const rows = tiling.subgroups * tiling.fragment.m;
  const output = writeSnippet(node, context, 4);
  return {
    label: `attention ${node.layer} matrix units`,
    code: matrixForm(node, context, tiling, output.code),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: cache.key, access: "read" },
      { buffer: cache.value, access: "read" },
      ...output.bindings,
    ],
    work: attentionWork(node, context, "matrix"),
    grid: ({ numTiles, maxQueryLength }) =>
      numTiles === 0 || maxQueryLength === 1
        ? undefined
        : [numTiles, node.numKvHeads, Math.ceil(packedRows / rows)],
  };
}

function matrixForm(node: AttentionNode, context: GpuContext, tiling: MatrixTiling, output: string): string {
  const { fragment, lanes, subgroups, keys } = tiling;
  const rows = subgroups * fragment.m;
  const constants = {
    ...attentionConstants(node, context),
    LANES: lanes,
    THREADS: subgroups * lanes,
    ROWS: rows,
    KEYS: keys,
    TILE_ROWS: Math.max(rows, keys),
    FRAGMENT_M: fragment.m,
    FRAGMENT_N: fragment.n,
    FRAGMENT_K: fragment.k,
    SCALE: scoreScale(node),
  };
  const code = specialise(matrixCode, constants, {
    output,
    cache: `${cacheSnippet(node, context)}\n${PLACES[cacheOrder(node, context)]}`,
    ...stagingSnippets(node, tiling),
    ...scoreSnippets(tiling),
    ...softmaxSnippets(tiling, node),
    ...windowSnippets(node, tiling),
    ...outputSnippets(tiling),
  });
  return `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
enable chromium_disable_uniformity_analysis;
${code}`;
}

/** WGSL: which word of which key is read at a place, so that neighbouring threads read neighbouring words of the cache. */
const PLACES: Record<KvOrder, string> = {
  rows: `fn keyOf(place: u32) -> u32 { return place / HEAD_WORDS; }
fn wordOf(place: u32) -> u32 { return place % HEAD_WORDS; }`,
  tiles: `const KV_ROW_WORDS = BLOCK_SIZE / 8u;
const KV_TILE_WORDS = BLOCK_SIZE * KV_ROW_WORDS;
fn keyOf(place: u32) -> u32 { return place / (BLOCK_SIZE * HEAD_WORDS) * BLOCK_SIZE + place % KV_TILE_WORDS / KV_ROW_WORDS; }
fn wordOf(place: u32) -> u32 { return place % (BLOCK_SIZE * HEAD_WORDS) / KV_TILE_WORDS * KV_ROW_WORDS + place % KV_ROW_WORDS; }`,
};

/** A thread's share of a tile of keys or values, held in registers until the tile before it is done with. */
function stagingSnippets(node: AttentionNode, tiling: MatrixTiling): Record<string, string> {
  const { keys, subgroups, lanes } = tiling;
  const words = keys * node.headSize / 8, threads = subgroups * lanes, count = Math.ceil(words / threads);
  const place = (i: number) => `(thread + ${i * threads}u)`;
  const guard = (i: number, line: string) =>
    (i + 1) * threads <= words ? line : `if (${place(i)} < ${words}u) { ${line} }`;
  const load = (name: string) =>
    unroll(count, (i) =>
      guard(
        i,
        `held${i} = ${name}[cacheAt(blockTable, position + keyOf(${place(i)}), numKeys, kvHead, wordOf(${
          place(i)
        }))];`,
      ));
  return {
    held: unroll(count, (i) => `var held${i} = vec4<u32>();`),
    loadKeys: load("keys"),
    loadValues: load("values"),
    keep: unroll(
      count,
      (i) => guard(i, `tile[keyOf(${place(i)}) * TILE_STRIDE + wordOf(${place(i)})] = held${i};`),
    ),
  };
}

/** Scores of a subgroup's rows by all keys of the tile. */
function scoreSnippets({ fragment: { n, k }, keys, headFragments }: MatrixTiling): Record<string, string> {
  const slices = headFragments * n / k, across = keys / n;
  return {
    queries: unroll(
      slices,
      (s) =>
        `let query${s} = subgroupMatrixLoad<Left, row_major>(&tile, tileRow * TILE_STRIDE + ${
          s * k / 8
        }u, TILE_STRIDE);`,
    ),
    scores: [
      unroll(across, (j) => `var score${j} = Sum();`),
      unroll(
        slices,
        (s) =>
          unroll(
            across,
            (j) =>
              `score${j} = subgroupMatrixMultiplyAccumulate(query${s}, subgroupMatrixLoad<Right, col_major>(&tile, ${
                j * n
              }u * TILE_STRIDE + ${s * k / 8}u, TILE_STRIDE), score${j});`,
          ),
      ),
      unroll(
        across,
        (j) => `subgroupMatrixStore<row_major>(&patches, patchAt + ${j * n / 4}u, score${j}, PATCH_STRIDE);`,
      ),
    ].join("\n"),
  };
}

/** The step with the first key that one of the rows sees, and a mask for those that a row does not see any more. */
function windowSnippets(node: AttentionNode, tiling: MatrixTiling): Record<string, string> {
  return {
    firstStep: `let firstStep = (${firstSeen(node, "fewestKeys")}) / KEYS;`,
    maskWindow: node.window === undefined ? "" : `if (firstKey < ${firstSeen(node, "numKeys")}) {
    let key = vec4<u32>(firstKey + part * PART_QUADS * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let seen = ${firstSeen(node, "limit")};
    ${
      unroll(
        quadsOf(tiling),
        (i) => `s${i} = select(vec4<f32>(MASKED), s${i}, key + vec4<u32>(${4 * i}u) >= vec4<u32>(seen));`,
      )
    }
}`,
  };
}

/** Fours of a row's scores that a lane has. */
function quadsOf({ fragment: { m }, lanes, keys }: MatrixTiling): number {
  return keys / 4 / (lanes / m);
}

/** A lane's scores become exponentials in the place where they were. */
function softmaxSnippets(tiling: MatrixTiling, node: AttentionNode): Record<string, string> {
  const { fragment: { m }, lanes } = tiling, rowLanes = lanes / m, quads = quadsOf(tiling);
  // A row that sees nothing of a step has no largest score to measure by.
  const exponential = (i: number) => {
    const power = `exp2(fma(s${i}, vec4<f32>(SCALE), vec4<f32>(-reference)))`;
    return node.window === undefined
      ? power
      : `select(vec4<f32>(), ${power}, s${i} > vec4<f32>(0.5 * MASKED))`;
  };
  const acrossLanes = (combine: (other: string) => string) =>
    unroll(Math.log2(rowLanes), (i) => combine(String(2 ** i)));
  const tree = (names: string[], combine: (a: string, b: string) => string): string =>
    names.length === 1 ? names[0] : tree(
      Array.from({ length: names.length / 2 }, (_, i) => combine(names[2 * i], names[2 * i + 1])),
      combine,
    );
  const all = (name: string) => Array.from({ length: quads }, (_, i) => `${name}${i}`);
  return {
    readScores: unroll(quads, (i) => `var s${i} = bitcast<vec4<f32>>(patches[scoresAt + ${i}u]);`),
    mask: unroll(
      quads,
      (i) => `s${i} = select(vec4<f32>(MASKED), s${i}, key + vec4<u32>(${4 * i}u) < vec4<u32>(limit));`,
    ),
    largest: `let most = ${tree(all("s"), (a, b) => `max(${a}, ${b})`)};
var largest = max(max(most.x, most.y), max(most.z, most.w));
${acrossLanes((distance) => `largest = max(largest, subgroupShuffleXor(largest, ${distance}u));`)}
largest *= SCALE;`,
    exponentials: [
      unroll(quads, (i) => `let p${i} = ${exponential(i)};`),
      `laneSum += dot(${tree(all("p"), (a, b) => `(${a} + ${b})`)}, vec4<f32>(1.0));`,
      unroll(
        quads / 2,
        (i) =>
          `patches[scoresAt + ${i}u] = vec4<u32>(pack2x16float(p${2 * i}.xy), pack2x16float(p${2 * i}.zw), ` +
          `pack2x16float(p${2 * i + 1}.xy), pack2x16float(p${2 * i + 1}.zw));`,
      ),
    ].join("\n"),
    total: `var total = laneSum;
${acrossLanes((distance) => `total += subgroupShuffleXor(total, ${distance}u);`)}`,
  };
}

function outputSnippets(tiling: MatrixTiling): Record<string, string> {
  const { fragment: { m, n, k }, lanes, keys, headFragments } = tiling;
  const partKeys = keys * m / lanes;
  const weightsAt = (key: number) => Math.floor(key / partKeys) * partKeys / 4 + key % partKeys / 8;
  const fragmentLanes = m * n / 4 / lanes;
  return {
    outputs: unroll(headFragments, (d) => `var output${d} = Sum();`),
    rescale: unroll(
      headFragments,
      (d) =>
        `subgroupMatrixStore<row_major>(&fragments, fragmentAt, output${d}, FRAGMENT_N / 4u);
workgroupBarrier();
${
          unroll(fragmentLanes, (i) =>
            `{ let quad = lane + ${
              i * lanes
            }u; let scaled = bitcast<vec4<f32>>(fragments[fragmentAt + quad]) * rescale[tileRow + quad / (FRAGMENT_N / 4u)];
fragments[fragmentAt + quad] = bitcast<vec4<u32>>(scaled); }`)
        }
workgroupBarrier();
output${d} = subgroupMatrixLoad<Sum, row_major>(&fragments, fragmentAt, FRAGMENT_N / 4u);
workgroupBarrier();`,
    ),
    accumulate: unroll(
      keys / k,
      (s) =>
        `{ let weights = subgroupMatrixLoad<Left, row_major>(&patches, patchAt + ${
          weightsAt(s * k)
        }u, PATCH_STRIDE);
${
          unroll(headFragments, (d) =>
            `output${d} = subgroupMatrixMultiplyAccumulate(weights, subgroupMatrixLoad<Right, row_major>(&tile, ${
              s * k
            }u * TILE_STRIDE + ${d * n / 8}u, TILE_STRIDE), output${d});`)
        } }`,
    ),
    store: storeLines(tiling),
  };
}

/** The output passes through the patches, as many fragments at a time as those hold. */
function storeLines({ fragment: { m, n }, keys, headFragments }: MatrixTiling): string {
  const most = keys / n;
  return unroll(Math.ceil(headFragments / most), (turn) => {
    const first = turn * most, count = Math.min(most, headFragments - first), quads = count * n / 4;
    return `workgroupBarrier();
${
      unroll(count, (j) =>
        `subgroupMatrixStore<row_major>(&patches, patchAt + ${j * n / 4}u, output${
          first + j
        }, PATCH_STRIDE);`)
    }
workgroupBarrier();
for (var place = lane; place < ${m * quads}u; place += LANES) {
    let row = tileRow + place / ${quads}u;
    let packed = firstPacked + row;
    if (packed <= lastPacked) {
        let head = kvHead * GROUP + packed % GROUP;
        let quad = place % ${quads}u;
        storeOutput(tokenOf(firstRow, packed), head, ${first * n / 4}u + quad,
            bitcast<vec4<f32>>(patches[row * PATCH_STRIDE + quad]) * rescale[row]);
    }
}`;
  });
}
