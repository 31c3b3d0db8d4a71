// The dispatches of a graph on a GPU, in the order in which they run: every node's own, then those that choose tokens.
// Knows no step and no pipeline.
import type { GpuDevice } from "../device/gpu_device.ts";
import { lowerAttention } from "./attention/gpu.ts";
import type { ControlLayout } from "./control.ts";
import { lowerConvolutionHistory } from "./convolution_history/gpu.ts";
import { lowerDiagonalSsm } from "./diagonal_ssm/gpu.ts";
import { lowerEmbedding } from "./embedding/gpu.ts";
import { lowerGated } from "./gated/gpu.ts";
import { lowerGatherRows } from "./gather_rows/gpu.ts";
import type { GpuBuffers } from "./gpu_buffers.ts";
import type { GpuContext, GpuKvCache, KernelCall } from "./gpu_op.ts";
import type { GpuWeights } from "./gpu_weights.ts";
import type { Graph, Node } from "./graph.ts";
import { lowerLayerNorm } from "./layer_norm/gpu.ts";
import { lowerLinear } from "./linear/gpu.ts";
import { lowerLongConvolution } from "./long_convolution/gpu.ts";
import type { HalfValues } from "./half_values.ts";
import type { MergeFusion } from "./merge_fusion.ts";
import type { NormFusion } from "./norm_fusion.ts";
import { lowerRotary } from "./rotary/gpu.ts";
import { lowerSampling } from "./sampling/gpu.ts";
import { lowerShortConvolution } from "./short_convolution/gpu.ts";
import type { WholeNumbers } from "./whole_number_fusion.ts";

/** What lowerings may use, of a plan's parts. */
export function contextOf(
  gpu: GpuDevice,
  layout: ControlLayout,
  weights: GpuWeights,
  buffers: GpuBuffers,
  fusion: NormFusion,
  merges: MergeFusion,
  whole: WholeNumbers,
  halfValues: HalfValues,
): GpuContext {
  return {
    caps: gpu.caps,
    profile: gpu.profile,
    layout,
    control: buffers.control,
    tokens: buffers.tokens,
    matrix: (ref) => weights.matrix(ref),
    vector: (ref) => weights.vector(ref),
    filter: (ref) => weights.filter(ref),
    activation: (value) => buffers.activation(value),
    fusedNorm: (value) => fusion.get(value.id),
    fusedMerge: (value) => merges.get(value.id),
    wholeType: ({ id }) => whole.get(id),
    halfValues,
    halves: (value) => halfValues.has(value) ? buffers.halves(value) : undefined,
    kvCache: (layer): GpuKvCache => buffers.kvCache(layer),
    history: (layer) => buffers.history(layer),
    online: buffers.online,
    onlineSums: (layer) => buffers.onlineSums(layer),
    recurrentState: (layer) => buffers.recurrentState(layer),
    scratch: (name, bytes) => buffers.scratch(name, bytes),
    table: (name, values) => buffers.table(name, values),
    computedTable: (name, bytes, setUp) => buffers.computedTable(name, bytes, setUp),
    uniform: (words) => buffers.uniform(words),
  };
}

/** @param suppressed ids that are never chosen; undefined = choose no tokens */
export function lowerGraph(
  graph: Graph,
  context: GpuContext,
  buffers: GpuBuffers,
  suppressed: readonly number[] | undefined,
): KernelCall[] {
  const calls = graph.nodes.flatMap((node) => lowerNode(node, context));
  if (!suppressed) return calls;
  const { tokens, scores, masks } = buffers;
  const vocabSize = graph.output.width;
  return [
    ...calls,
    ...lowerSampling({ logits: graph.output, vocabSize, suppressed, tokens, scores, masks }, context),
  ];
}

function lowerNode(node: Node, context: GpuContext): KernelCall[] {
  switch (node.op) {
    case "input":
      return [];
    case "embedding":
      return lowerEmbedding(node, context);
    case "layerNorm":
      return lowerLayerNorm(node, context);
    case "linear":
      return lowerLinear(node, context);
    case "gated":
      return lowerGated(node, context);
    case "rotary":
      return lowerRotary(node, context);
    case "attention":
      return lowerAttention(node, context);
    case "longConvolution":
      return lowerLongConvolution(node, context);
    case "convolutionHistory":
      return lowerConvolutionHistory(node, context);
    case "shortConvolution":
      return lowerShortConvolution(node, context);
    case "diagonalSsm":
      return lowerDiagonalSsm(node, context);
    case "gatherRows":
      return lowerGatherRows(node, context);
  }
}
