// Lowers attention of single new tokens over short contexts to matrix units (whole_matrix.wgsl), a workgroup a token:
// knows when that form may be taken, and writes its fragments out.
import { SHORT_CONTEXT, type StepShape } from "../control.ts";
import type { GpuContext, KernelCall } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { PACK_HALVES } from "../half_values.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import { attentionConstants, scoreScale, writeSnippet } from "./access.ts";
import wholeMatrixCode from "./whole_matrix.wgsl" with { type: "text" };

/** Fragments of keys in a tile. */
const TILE_FRAGMENTS = 4;
/** Tiles that are on their way from the cache. */
const TILES_AHEAD = 3;

interface Tiling {
  /** Rows and columns of a fragment: heads, keys and columns of a head. */
  readonly size: number;
  readonly lanes: number;
  /** One for every fragment of a head's columns. */
  readonly subgroups: number;
  readonly headGroups: number;
}

/** Whether a step only decodes, over contexts for which the form is made. */
export function decodesShort({ maxQueryLength, maxContextLength, numTokens }: StepShape): boolean {
  return numTokens > 0 && maxQueryLength === 1 && maxContextLength <= SHORT_CONTEXT;
}

/**
 * The one dispatch; undefined where the form does not serve the node: heads of a group, and columns of a head, must be
 * whole fragments, the cache f16, and the tiles fit workgroup memory.
 */
export function wholeMatrixCall(
  node: AttentionNode,
  context: GpuContext,
  storesOwn: boolean,
): KernelCall | undefined {
  const tiling = chooseTiling(node, context);
  if (!tiling) return undefined;
  const cache = context.kvCache(node.layer), access = storesOwn ? "readWrite" : "read";
  const output = writeSnippet(node, context, 4);
  return {
    label: `attention ${node.layer} whole, matrix units`,
    code: wholeMatrixForm(node, context, tiling, storesOwn, output.code),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: cache.key, access },
      { buffer: cache.value, access },
      ...output.bindings,
    ],
    grid: (shape) =>
      decodesShort(shape) ? [shape.numTokens, node.numKvHeads * tiling.headGroups, 1] : undefined,
  };
}

function chooseTiling(node: AttentionNode, context: GpuContext): Tiling | undefined {
  const { matrixFragment, subgroupMaxSize: lanes, maxInvocations, maxWorkgroupBytes } = context.caps;
  if (context.profile !== "fast" || !matrixFragment || context.kvCache(node.layer).type !== "f16") {
    return undefined;
  }
  const { m: size } = matrixFragment;
  const subgroups = node.headSize / size, headGroups = node.numHeads / node.numKvHeads / size;
  const threads = subgroups * lanes, quads = size * size / threads;
  const fits = Number.isInteger(headGroups) && subgroups % TILE_FRAGMENTS === 0 &&
    threads <= maxInvocations &&
    (quads === 1 || quads === 2) && memoryBytes(node, size) <= maxWorkgroupBytes && BLOCK_SIZE % size === 0;
  return fits ? { size, lanes, subgroups, headGroups } : undefined;
}

/** Workgroup memory: the tile, the patches, the weights, and a row's statistics, as whole_matrix.wgsl declares them. */
function memoryBytes({ headSize }: AttentionNode, size: number): number {
  const keys = TILE_FRAGMENTS * size, tiles = Math.ceil(SHORT_CONTEXT / keys);
  return keys * (headSize / 8 + 1) * 16 + headSize / size * (size * size / 4 + 4) * 16 +
    size * (tiles * keys / 4 + 2) * 8 + size * tiles * 8 + size * 4 + SHORT_CONTEXT / BLOCK_SIZE * 4;
}

function wholeMatrixForm(
  node: AttentionNode,
  context: GpuContext,
  tiling: Tiling,
  storesOwn: boolean,
  output: string,
): string {
  const { size, lanes, subgroups, headGroups } = tiling;
  const keys = TILE_FRAGMENTS * size;
  const staging = stagingSnippets(node, tiling), softmax = softmaxSnippets(tiling);
  const scores = unroll(
    TILE_FRAGMENTS,
    (s) =>
      `score = subgroupMatrixMultiplyAccumulate(query${s}, subgroupMatrixLoad<Right, col_major>(&tile, tileKeys * TILE_STRIDE + (share * TILE_FRAGMENTS + ${s}u) * ${
        size / 8
      }u, TILE_STRIDE), score);`,
  );
  const outputs = unroll(
    TILE_FRAGMENTS,
    (b) =>
      `sum = subgroupMatrixMultiplyAccumulate(subgroupMatrixLoad<Left, row_major>(&weights, t * (KEYS / 4u) + ${
        b * size / 4
      }u, WEIGHT_STRIDE), subgroupMatrixLoad<Right, row_major>(&tile, ${
        b * size
      }u * TILE_STRIDE + subgroup * ${size / 8}u, TILE_STRIDE), sum);`,
  );
  const code = specialise(wholeMatrixCode, {
    ...attentionConstants(node, context),
    HEAD_GROUPS: headGroups,
    FRAGMENT: size,
    LANES: lanes,
    THREADS: subgroups * lanes,
    SUBGROUPS: subgroups,
    KEYS: keys,
    MOST_TILES: Math.ceil(SHORT_CONTEXT / keys),
    MOST_BLOCKS: SHORT_CONTEXT / BLOCK_SIZE,
    TILE_FRAGMENTS,
    TILES_AHEAD,
    FIRST_KEY: node.numHeads,
    FIRST_VALUE: node.numHeads + node.numKvHeads,
    SCALE: scoreScale(node),
  }, {
    cache: ["keys", "values"].map((name, i) =>
      `@group(0) @binding(${i + 2}) var<storage, ${
        storesOwn ? "read_write" : "read"
      }> ${name}: array<vec4<u32>>;`
    ).join("\n"),
    storeOwn: storesOwn ? STORE_OWN : "",
    output,
    pack: output.includes("fn packHalves") ? "" : PACK_HALVES,
    held: staging.held,
    loadFirst: unroll(TILES_AHEAD, (set) => staging.load(set, `${set}u`)),
    queries: unroll(
      TILE_FRAGMENTS,
      (s) =>
        `let query${s} = subgroupMatrixLoad<Left, row_major>(&tile, (share * TILE_FRAGMENTS + ${s}u) * ${
          size / 8
        }u, TILE_STRIDE);`,
    ),
    goOverKeys: inTurns((set) =>
      `${staging.keep(set)}
${staging.load(set, "t + TILES_AHEAD")}
workgroupBarrier();
var score = Sum();
${scores}
subgroupMatrixStore<row_major>(&patches, subgroup * PATCH_WORDS, score, FRAGMENT / 4u);
workgroupBarrier();
${softmax.exponentials}`, (set) => staging.load(set, "t + TILES_AHEAD")),
    rescale: softmax.rescale,
    goOverValues: inTurns((set) =>
      `${staging.keep(set)}
${staging.load(set, "turnTiles + t + TILES_AHEAD")}
workgroupBarrier();
${outputs}
workgroupBarrier();`, () => ""),
  });
  return `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
enable chromium_disable_uniformity_analysis;
${code}`;
}

const STORE_OWN = `    if (thread < HEAD_WORDS) {
        let at = control[SLOT_MAPPING + token] * CACHE_STRIDE + kvHead * HEAD_WORDS + thread;
        keys[at] = activationWord(token, FIRST_KEY + kvHead, thread);
        values[at] = activationWord(token, FIRST_VALUE + kvHead, thread);
    }
    storageBarrier();`;

/**
 * A thread's share of the tiles of keys, then of values: TILES_AHEAD sets of registers, which take turns. To move what is
 * still on its way from one register to another would mean to wait for it.
 */
function stagingSnippets({ headSize }: AttentionNode, { size, lanes, subgroups }: Tiling) {
  const words = headSize / 8, threads = subgroups * lanes;
  const loads = TILE_FRAGMENTS * size * words / threads;
  const place = (i: number) => `(thread + ${i * threads}u)`;
  const loadTile = (set: number, name: string, tile: string) =>
    unroll(
      loads,
      (i) =>
        `held${set}_${i} = ${name}[cacheAt((${tile}) * KEYS + ${place(i)} / HEAD_WORDS, context, kvHead) + ${
          place(i)
        } % HEAD_WORDS];`,
    );
  return {
    held: unroll(TILES_AHEAD, (set) => unroll(loads, (i) => `var held${set}_${i} = vec4<u32>();`)),
    keep: (set: number) =>
      unroll(
        loads,
        (i) => `tile[${place(i)} / HEAD_WORDS * TILE_STRIDE + ${place(i)} % HEAD_WORDS] = held${set}_${i};`,
      ),
    /** Tile `step` of the keys or, where those and as many more as make whole turns are past, of the values. */
    load: (set: number, step: string) =>
      `{ let step = ${step};
if (step < numTiles) { ${loadTile(set, "keys", "step")} }
else if (step >= turnTiles && step < turnTiles + numTiles) { ${
        loadTile(set, "values", "step - turnTiles")
      } } }`,
  };
}

/** `body(set)` for every tile `t`, in turns of TILES_AHEAD; `rest(set)` for what is left of the last turn. */
function inTurns(body: (set: number) => string, rest: (set: number) => string): string {
  return `for (var turn = 0u; turn < numTiles; turn += ${TILES_AHEAD}u) {
${
    unroll(TILES_AHEAD, (set) =>
      `{ let t = turn + ${set}u;
if (t < numTiles) {
${body(set)}
} else {
${rest(set)}
} }`)
  }
}`;
}

/** A thread's scores, side by side in a row: one or two fours. */
function softmaxSnippets({ size, lanes, subgroups }: Tiling): { exponentials: string; rescale: string } {
  const quads = size * size / (subgroups * lanes), shares = subgroups / TILE_FRAGMENTS;
  const patch = (share: number) =>
    `patches[(quad / ${size / 4}u + ${share * TILE_FRAGMENTS}u) * PATCH_WORDS + row * ${size / 4}u + quad % ${
      size / 4
    }u]`;
  const sum = Array.from({ length: shares }, (_, share) => patch(share)).join(" + ");
  const each = (line: (i: number) => string) => unroll(quads, line);
  const all = (name: string, join: (a: string, b: string) => string) =>
    quads === 1 ? `${name}0` : join(`${name}0`, `${name}1`);
  return {
    exponentials: `${
      each((i) =>
        `var s${i} = vec4<f32>();
{ let quad = firstQuad + ${i}u;
let key = vec4<u32>(t * KEYS + 4u * quad) + vec4<u32>(0u, 1u, 2u, 3u);
s${i} = select(vec4<f32>(MASKED), SCALE * (${sum}), key < vec4<u32>(context)); }`
      )
    }
let quadMost = ${all("s", (a, b) => `max(${a}, ${b})`)};
let most = rowMost(max(max(quadMost.x, quadMost.y), max(quadMost.z, quadMost.w)));
${each((i) => `let p${i} = exp2(s${i} - most);`)}
${each((i) => `weights[row * WEIGHT_STRIDE + t * (KEYS / 4u) + firstQuad + ${i}u] = packHalves(p${i});`)}
let added = rowSum(dot(${all("p", (a, b) => `${a} + ${b}`)}, vec4<f32>(1.0)));
if (firstQuad == 0u) { tileStats[row * MOST_TILES + t] = vec2<f32>(most, added); }`,
    rescale: each((i) =>
      `{ let at = row * WEIGHT_STRIDE + t * (KEYS / 4u) + firstQuad + ${i}u;
let pair = weights[at];
weights[at] = packHalves(factor * vec4<f32>(unpack2x16float(pair.x), unpack2x16float(pair.y))); }`
    ),
  };
}
