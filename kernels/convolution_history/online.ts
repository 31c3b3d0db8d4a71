// Single tokens whose sums are made online: squares of inputs and outputs before the step's rows, into what is kept at
// a place of each sequence; then each row takes its share of that, and sums over the inputs that no square has covered yet.
import { type GpuContext, type KernelCall, rowStride } from "../gpu_op.ts";
import type { ConvolutionHistoryNode } from "../graph.ts";
import { BLOCK_SIZE } from "../step.ts";
import type { OnlineShape } from "./online_sums.ts";
import { KEPT_AT } from "./kept_code.ts";
import { sumCalls } from "./sum_calls.ts";
import { transformedCalls } from "./transformed.ts";

/** For all sequences that have one row in the step. */
export function onlineCalls(
  node: ConvolutionHistoryNode,
  context: GpuContext,
  shape: OnlineShape,
): KernelCall[] {
  return [
    ...squareCalls(node, context, shape),
    ...(shape.transforms ? transformedCalls(node, context, shape, shape.transforms) : []),
    ...rowCalls(node, context, shape),
  ];
}

function squareCalls(
  node: ConvolutionHistoryNode,
  context: GpuContext,
  { window }: OnlineShape,
): KernelCall[] {
  return sumCalls(node, context, {
    name: "squares",
    tile: BLOCK_SIZE,
    sums: context.onlineSums(node.history),
    constants: { WINDOW: window, WIDTH: node.input.width },
    more: { code: KEPT_AT, bindings: [] },
    range: `if (group.y >= control[NUM_ONLINE_TILES]) { return; }
let record = ONLINE_TILES + 4u * group.y;
let sequence = control[record + 3u] / 2u;
let adds = control[record + 3u] % 2u == 1u;
let position = control[record + 2u];
let oldest = max(control[record], farthest(position));
let end = control[record + 1u];`,
    take: (r, sum) =>
      `{ let at = keptAt(sequence, position + ${r}u, channel);
sums[at] = select(0.0, sums[at], adds) + ${sum}; }`,
    grid: ({ numOnlineTiles }) => numOnlineTiles > 0 ? [numOnlineTiles, 1] : undefined,
  });
}

function rowCalls(node: ConvolutionHistoryNode, context: GpuContext, shape: OnlineShape): KernelCall[] {
  const { width } = node.input;
  return sumCalls(node, context, {
    name: "single tokens, online",
    tile: 1,
    sums: context.activation(node.output),
    constants: { WINDOW: shape.window, WIDTH: width },
    more: {
      code: `@group(0) @binding(5) var<storage, read> kept: array<f32>;\n${KEPT_AT}`,
      bindings: [{ buffer: context.onlineSums(node.history), access: "read" }],
    },
    range: `let sequence = group.y;
let row = control[QUERY_START + sequence];
if (control[QUERY_START + sequence + 1u] - row != 1u) { return; }
let position = control[POSITIONS + row];
let oldest = max(position / ${shape.square}u * ${shape.square}u, farthest(position));
let end = position;`,
    take: (_, sum) =>
      `sums[row * ${rowStride(width)}u + channel] = kept[keptAt(sequence, position, channel)] + ${sum};`,
    grid: ({ numSequences }) => numSequences > 0 ? [numSequences, 1] : undefined,
  });
}
