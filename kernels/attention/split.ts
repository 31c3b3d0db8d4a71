// Lowers attention of single new tokens to split_matrix.wgsl or, where that does not serve, split.wgsl, and merge.wgsl:
// enough workgroups to fill a GPU from one sequence.
import type { StepShape } from "../control.ts";
import type { Binding, GpuContext, Grid, KernelCall } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import { attentionWork, type BytesOf } from "../work.ts";
import {
  attentionConstants,
  cacheOrder,
  type DivisionContext,
  firstSeen,
  headQuads,
  readSnippet,
  scoreScale,
} from "./access.ts";
import { mergeCall } from "./merge.ts";
import splitCode from "./split.wgsl" with { type: "text" };
import { matrixSplit, servesMatrixSplit } from "./split_matrix.ts";
import { scoreTurn } from "./tiled.ts";

const THREADS = 256;
/** Query heads per workgroup, where they are not a fragment; more of one KV head are divided over several. */
const MOST_HEADS = 16;
/** Keys per split, the most that fit into workgroup memory. */
const KEY_COUNTS = [64, 32, 16];
/** Workgroup memory to use at most: more would keep workgroups of other tokens from sharing a core. */
const MOST_BYTES = 32 * 1024;

export interface Splitting {
  /** Keys per split. */
  readonly keys: number;
  /** Splits of a full context, or of a window wherever it begins. */
  readonly splits: number;
  /** Heads per workgroup, and workgroups per KV head. */
  readonly heads: number;
  readonly headGroups: number;
  readonly quads: number;
  /**
   * Whether a token's own key and value are a split of their own, the first, which does not take them from the cache: others
   * could not know whether they are there yet, and need not wait for them.
   */
  readonly ownSplit: boolean;
}

/**
 * Whether the split form stores a new token's key and value itself: no other workgroup may be about to read them, and
 * they need no scale.
 */
function storesOwn(
  node: AttentionNode,
  context: DivisionContext,
  { headGroups, ownSplit }: Pick<Splitting, "headGroups" | "ownSplit">,
): boolean {
  const alone = headGroups === 1 && node.headSize % 4 === 0 && context.kvCache(node.layer).type !== "i8";
  return alone || ownSplit;
}

/** What the split form does for steps of single new tokens: nothing, attend, or store their keys and values as well. */
export function splitDuties(node: AttentionNode, context: GpuContext): { attends: boolean; stores: boolean } {
  const splitting = context.profile === "fast" ? chooseSplitting(node, context) : undefined;
  return {
    attends: splitting !== undefined,
    stores: splitting !== undefined && storesOwn(node, context, splitting),
  };
}

/** The dispatches of the split form; none when its partial results would not fit a binding. */
export function splitCalls(node: AttentionNode, context: GpuContext): KernelCall[] {
  const splitting = context.profile === "fast" ? chooseSplitting(node, context) : undefined;
  if (!splitting) return [];
  const { keys, headGroups } = splitting;
  const { partials, sums } = splitResults(node, splitting, context);
  const cache = context.kvCache(node.layer);
  const cacheAccess = storesOwn(node, context, splitting) ? "readWrite" : "read";
  const decodes = (shape: StepShape) => shape.maxQueryLength === 1 && shape.numTokens > 0;
  const matrix = matrixSplit(node, context, splitting);
  const constants = { ...attentionConstants(node, context), KEYS: keys, SPLITS: splitting.splits };
  const splitBindings: Binding[] = [
    { buffer: context.control, access: "read" },
    { buffer: context.activation(node.input), access: "read" },
    { buffer: cache.key, access: cacheAccess },
    { buffer: cache.value, access: cacheAccess },
    { buffer: partials, access: "readWrite" },
    { buffer: sums, access: "readWrite" },
  ];
  const splitsIn = (length: number) =>
    splitting.ownSplit ? 1 + splitsOf(node, length - 1, keys) : splitsOf(node, length, keys);
  const splitGrid = ({ numTokens, maxContextLength }: StepShape): Grid => [
    numTokens,
    node.numKvHeads * headGroups,
    splitsIn(maxContextLength),
  ];
  const partialBytes: BytesOf = ({ contextLengths }) =>
    contextLengths.reduce((sum, length) => sum + splitsIn(length), 0) * node.numHeads *
    (splitting.quads * 16 + 8);
  return [
    {
      label: `attention ${node.layer} split${matrix ? ", matrix units" : ""}`,
      code: matrix?.(constants) ?? splitForm(node, context, splitting, constants),
      bindings: splitBindings,
      work: attentionWork(node, context, matrix ? "matrix" : "f32", partialBytes),
      grid: (shape) => decodes(shape) ? splitGrid(shape) : undefined,
    },
    mergeCall(
      node,
      splitting,
      partialBytes,
      (shape) => decodes(shape) && !(readerMerges(shape) && context.fusedMerge(node.output)),
      context,
    ),
  ];
}

/** Whether a linear that can joins the splits itself in such a step. */
export function readerMerges({ numTokens, hasLongContext }: StepShape): boolean {
  return numTokens === 1 && !hasLongContext;
}

/** How the node is split where its reader is to join the splits. */
export function splittingToMerge(node: AttentionNode, context: GpuContext): Splitting | undefined {
  return context.profile === "fast" ? chooseSplitting(node, context) : undefined;
}

/** What splits leave: f32 [tokens][splits][heads][quads * 4], and of each head its largest score and its sum. */
export function splitResults(
  node: AttentionNode,
  { splits, quads }: Splitting,
  context: GpuContext,
): { partials: GPUBuffer; sums: GPUBuffer } {
  const rows = context.layout.limits.maxSequences * node.numHeads * splits;
  return {
    partials: context.scratch("attention partials", rows * quads * 16),
    sums: context.scratch("attention sums", rows * 8),
  };
}

/** Whether steps of single tokens are attended in splits, which a dispatch or a reader joins. */
export function attendsInSplits(node: AttentionNode, context: DivisionContext): boolean {
  return context.profile === "fast" && chooseSplitting(node, context) !== undefined;
}

function chooseSplitting(node: AttentionNode, context: DivisionContext): Splitting | undefined {
  const { maxSequences, maxBlocksPerSequence } = context.layout.limits;
  const quads = headQuads(node);
  const group = node.numHeads / node.numKvHeads;
  const mostHeads = cacheOrder(node, context) === "tiles" ? context.caps.matrixFragment!.m : MOST_HEADS;
  for (let headGroups = Math.ceil(group / mostHeads); headGroups <= group; headGroups++) {
    const heads = Math.ceil(group / headGroups);
    const keys = KEY_COUNTS.find((count) => fitsWorkgroup(node, context, heads, count));
    if (!keys) continue;
    const division = { keys, heads, headGroups, quads };
    const ownSplit = servesMatrixSplit(node, context, division);
    const splits = splitsOf(node, maxBlocksPerSequence * BLOCK_SIZE, keys) + (ownSplit ? 1 : 0);
    const bytes = maxSequences * node.numHeads * splits * quads * 16;
    return bytes > context.caps.maxBindingBytes ? undefined : { ...division, splits, ownSplit };
  }
  return undefined;
}

/** Splits that a sequence of `context` tokens has at most. */
function splitsOf({ window }: AttentionNode, context: number, keys: number): number {
  const all = Math.ceil(context / keys);
  return window === undefined ? all : Math.min(all, Math.ceil((window - 1) / keys) + 1);
}

/** WGSL for the number of splits that the last of `length` tokens has, and for those of them that are in the cache. */
export function splitCount(node: AttentionNode, length: string, { keys, ownSplit }: Splitting): string {
  const cached = `(${length} + ${keys - (ownSplit ? 2 : 1)}u) / ${keys}u - ${firstSplit(node, length, keys)}`;
  return ownSplit ? `${cached} + 1u` : cached;
}

/** WGSL for the number of the first split that the last of `length` tokens sees. */
export function firstSplit(node: AttentionNode, length: string, keys: number): string {
  return node.window === undefined ? "0u" : `(${firstSeen(node, length)}) / ${keys}u`;
}

function fitsWorkgroup(node: AttentionNode, context: DivisionContext, heads: number, keys: number): boolean {
  const quads = headQuads(node);
  const packed = node.headSize % 4 === 0 && context.kvCache(node.layer).type === "f16";
  const bytes = heads * quads * 16 + keys * (quads + 1) * (packed ? 8 : 16) + heads * (keys + 1) * 4 +
    THREADS * 4;
  return bytes <= Math.min(MOST_BYTES, context.caps.maxWorkgroupBytes);
}

const STORE_OWN = `    if (context - firstKey <= KEYS && thread < HEAD_QUADS) {
        storeQuad(token, control[SLOT_MAPPING + token], kvHead, thread);
    }
    storageBarrier();`;

/** WGSL for the first key of a workgroup's split, of those in the cache the `split`th that the token sees. */
export function firstKeyLine(node: AttentionNode, keys: number, split = "group.z"): string {
  return `let firstKey = (${split} + ${firstSplit(node, "context", keys)}) * KEYS;`;
}

function splitForm(
  node: AttentionNode,
  context: GpuContext,
  splitting: Splitting,
  shared: Record<string, number>,
): string {
  const { keys, heads, headGroups, quads } = splitting;
  const headLanes = Math.min(heads, Math.floor(THREADS / quads));
  const constants = {
    ...shared,
    HEADS: heads,
    HEAD_GROUPS: headGroups,
    HEAD_LANES: headLanes,
    SCORE_TURN: scoreTurn(quads),
    SCALE: scoreScale(node),
  };
  return specialise(splitCode, constants, {
    access: readSnippet(node, context, 1, storesOwn(node, context, splitting)),
    storeOwn: storesOwn(node, context, splitting) ? STORE_OWN : "",
    firstKey: firstKeyLine(node, keys),
    ...loadSnippets(Math.ceil(keys * quads / THREADS), Math.ceil(heads * quads / THREADS)),
    ...scoreSnippets(Math.ceil(heads / (THREADS / keys)), scoreTurn(quads), node),
    ...outputSnippets(Math.ceil(heads / headLanes)),
  });
}

/** A thread's share of what the workgroup reads: fours of keys and values, and of queries. */
function loadSnippets(cacheLoads: number, queryLoads: number): Record<string, string> {
  const keep = (name: string) =>
    unroll(
      cacheLoads,
      (i) =>
        `if (at${i} < KEYS * HEAD_QUADS) { tile[at${i} / HEAD_QUADS * TILE_STRIDE + at${i} % HEAD_QUADS] = ${name}${i}; }`,
    );
  return {
    load: [
      unroll(queryLoads, (i) =>
        `let queryAt${i} = thread + ${i}u * 256u;
let query${i} = queryQuad(token, firstHead + min(queryAt${i} / HEAD_QUADS, numHeads - 1u), queryAt${i} % HEAD_QUADS);`),
      unroll(cacheLoads, (i) =>
        `let at${i} = thread + ${i}u * 256u;
let slot${i} = slotOf(blockTable, firstKey + min(at${i} / HEAD_QUADS, numKeys - 1u));
let key${i} = keyStored(slot${i}, kvHead, at${i} % HEAD_QUADS);
let value${i} = valueStored(slot${i}, kvHead, at${i} % HEAD_QUADS);`),
    ].join("\n"),
    keepKeys: [
      unroll(queryLoads, (i) => `if (queryAt${i} < HEADS * HEAD_QUADS) { query[queryAt${i}] = query${i}; }`),
      keep("key"),
    ].join("\n"),
    keepValues: keep("value"),
  };
}

/** A thread's scores: one key by every KEY_TEAM-th head. Threads for heads beyond the last do its work again. */
function scoreSnippets(count: number, turns: number, node: AttentionNode): Record<string, string> {
  const seen = node.window === undefined ? "" : ` && firstKey + key >= ${firstSeen(node, "context")}`;
  return {
    scoreSums: unroll(count, (i) =>
      `var s${i} = vec4<f32>();
let head${i} = min(keyLane + ${i}u * KEY_TEAM, numHeads - 1u);`),
    score: unroll(turns, (turn) =>
      `{ let k = unpackStored(tile[keyAt + quad + ${turn}u]);
${unroll(count, (i) => `s${i} = fma(query[head${i} * HEAD_QUADS + quad + ${turn}u], k, s${i});`)} }`),
    storeScores: unroll(count, (i) =>
      `if (keyLane + ${i}u * KEY_TEAM < HEADS) {
  scores[(keyLane + ${i}u * KEY_TEAM) * SCORE_STRIDE + key] =
    select(MASKED, SCALE * dot(s${i}, vec4<f32>(1.0)), key < numKeys${seen});
}`),
  };
}

/** A thread's part of the output: one four of columns of every HEAD_LANES-th head. */
function outputSnippets(count: number): Record<string, string> {
  const head = (i: number) => `headLane + ${i}u * HEAD_LANES`;
  return {
    accumulators: unroll(count, (i) =>
      `var y${i} = vec4<f32>();
let scores${i} = min(${head(i)}, HEADS - 1u) * SCORE_STRIDE;`),
    accumulate: unroll(4, (turn) =>
      `{ let v = unpackStored(tile[(k + ${turn}u) * TILE_STRIDE + quad]);
${unroll(count, (i) => `y${i} = fma(vec4<f32>(scores[scores${i} + k + ${turn}u]), v, y${i});`)} }`),
    store: unroll(count, (i) =>
      `if (${head(i)} < numHeads) {
  partials[((token * SPLITS + group.z) * NUM_HEADS + firstHead + ${head(i)}) * HEAD_QUADS + quad] = y${i};
}`),
  };
}
