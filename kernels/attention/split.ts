// Lowers attention of single new tokens to split.wgsl and merge.wgsl: enough workgroups to fill a GPU from one sequence.
import type { GpuContext, KernelCall } from "../gpu_op.ts";
import type { AttentionNode } from "../graph.ts";
import type { StepShape } from "../control.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise, unroll } from "../wgsl.ts";
import { attentionConstants, headQuads, readSnippet, scoreScale, writeSnippet } from "./access.ts";
import mergeCode from "./merge.wgsl" with { type: "text" };
import splitCode from "./split.wgsl" with { type: "text" };
import { scoreTurn } from "./tiled.ts";

const THREADS = 256;
/** Query heads per workgroup; more of one KV head are divided over several. */
const MOST_HEADS = 16;
/** Working memory beyond which splits become longer. */
const COMFORTABLE_BYTES = 32 * 1024 * 1024;

interface Splitting {
  /** Keys per split. */
  readonly keys: number;
  /** Splits of a full context. */
  readonly splits: number;
  /** Heads per workgroup, and workgroups per KV head. */
  readonly heads: number;
  readonly headGroups: number;
  readonly quads: number;
}

/** Whether the split form stores a new token's key and value itself: no other workgroup may be about to read them. */
function storesOwn(node: AttentionNode, { headGroups }: Splitting): boolean {
  return headGroups === 1 && node.headSize % 4 === 0;
}

/** What the split form does for steps of single new tokens: nothing, attend, or store their keys and values as well. */
export function splitDuties(node: AttentionNode, context: GpuContext): { attends: boolean; stores: boolean } {
  const splitting = context.profile === "fast" ? chooseSplitting(node, context) : undefined;
  return { attends: splitting !== undefined, stores: splitting !== undefined && storesOwn(node, splitting) };
}

/** The two dispatches of the split form; none when its partial results would not fit a binding. */
export function splitCalls(node: AttentionNode, context: GpuContext): KernelCall[] {
  const splitting = context.profile === "fast" ? chooseSplitting(node, context) : undefined;
  if (!splitting) return [];
  const { keys, headGroups } = splitting;
  const rows = context.layout.limits.maxSequences * node.numHeads * splitting.splits;
  const partials = context.scratch("attention partials", rows * splitting.quads * 16);
  const sums = context.scratch("attention sums", rows * 8);
  const cache = context.kvCache(node.layer);
  const cacheAccess = storesOwn(node, splitting) ? "readWrite" : "read";
  const decodes = (shape: StepShape) => shape.maxQueryLength === 1 && shape.numTokens > 0;
  const constants = { ...attentionConstants(node, context), KEYS: keys, SPLITS: splitting.splits };
  return [{
    label: `attention ${node.layer} split`,
    code: splitForm(node, context, splitting, constants),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: context.activation(node.input), access: "read" },
      { buffer: cache.key, access: cacheAccess },
      { buffer: cache.value, access: cacheAccess },
      { buffer: partials, access: "readWrite" },
      { buffer: sums, access: "readWrite" },
    ],
    grid: (shape) =>
      decodes(shape)
        ? [shape.numTokens, node.numKvHeads * headGroups, Math.ceil(shape.maxContextLength / keys)]
        : undefined,
  }, {
    label: `attention ${node.layer} merge`,
    code: specialise(mergeCode, constants, { output: writeSnippet(node, 3) }),
    bindings: [
      { buffer: context.control, access: "read" },
      { buffer: partials, access: "read" },
      { buffer: sums, access: "read" },
      { buffer: context.activation(node.output), access: "readWrite" },
    ],
    grid: (shape) =>
      decodes(shape) ? [Math.ceil(node.numHeads * splitting.quads / 64), shape.numTokens, 1] : undefined,
  }];
}

function chooseSplitting(node: AttentionNode, { layout, caps }: GpuContext): Splitting | undefined {
  const { maxSequences, maxBlocksPerSequence } = layout.limits;
  const quads = headQuads(node);
  const group = node.numHeads / node.numKvHeads;
  const headGroups = Math.ceil(group / MOST_HEADS);
  const splitsOf = (keys: number) => Math.ceil(maxBlocksPerSequence * BLOCK_SIZE / keys);
  const bytes = (keys: number) => maxSequences * node.numHeads * splitsOf(keys) * quads * 16;
  const keys = bytes(64) <= COMFORTABLE_BYTES ? 64 : 128;
  if (bytes(keys) > caps.maxBindingBytes) return undefined;
  return { keys, splits: splitsOf(keys), heads: Math.ceil(group / headGroups), headGroups, quads };
}

const STORE_OWN = `    if (context - firstKey <= KEYS && thread < HEAD_QUADS) {
        storeQuad(token, control[SLOT_MAPPING + token], kvHead, thread);
    }
    storageBarrier();`;

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
  const { type } = context.kvCache(node.layer);
  return specialise(splitCode, constants, {
    access: readSnippet(node, type, 1, storesOwn(node, splitting)),
    storeOwn: storesOwn(node, splitting) ? STORE_OWN : "",
    ...scoreSnippets(Math.ceil(heads / (THREADS / keys)), scoreTurn(quads)),
    ...outputSnippets(Math.ceil(heads / headLanes)),
  });
}

/** A thread's scores: one key by every KEY_TEAM-th head. Threads for heads beyond the last do its work again. */
function scoreSnippets(count: number, turns: number): Record<string, string> {
  return {
    scoreSums: unroll(count, (i) =>
      `var s${i} = vec4<f32>();
let head${i} = firstHead + min(keyLane + ${i}u * KEY_TEAM, numHeads - 1u);`),
    score: unroll(turns, (turn) =>
      `{ let k = keyQuad(slot, kvHead, quad + ${turn}u);
${unroll(count, (i) => `s${i} = fma(queryQuad(token, head${i}, quad + ${turn}u), k, s${i});`)} }`),
    storeScores: unroll(count, (i) =>
      `if (keyLane + ${i}u * KEY_TEAM < HEADS) {
  scores[(keyLane + ${i}u * KEY_TEAM) * SCORE_STRIDE + key] =
    select(MASKED, SCALE * dot(s${i}, vec4<f32>(1.0)), key < numKeys);
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
      `{ let v = valueQuad(slot + min(${turn}u, last), kvHead, quad);
${unroll(count, (i) => `y${i} = fma(vec4<f32>(scores[scores${i} + k + ${turn}u]), v, y${i});`)} }`),
    store: unroll(count, (i) =>
      `if (${head(i)} < numHeads) {
  partials[((token * NUM_HEADS + firstHead + ${head(i)}) * SPLITS + group.z) * HEAD_QUADS + quad] = y${i};
}`),
  };
}
