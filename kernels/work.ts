// What dispatches have to do at least: the bytes that they must read and write, each once, and the arithmetic of their op,
// whatever their form does beside. Knows no device.
import { kvRowBytes } from "./attention/kv_layout.ts";
import type { GpuContext, GpuMatrix, MatrixShard, Work } from "./gpu_op.ts";
import type { AttentionNode, LinearNode, Value } from "./graph.ts";
import { FEWEST_HALF_ROWS } from "./half_values.ts";
import type { StepBatch } from "./step.ts";

/** What a dispatch has to do in a step. */
export type WorkOf = (batch: StepBatch) => Work;
/** How many bytes of something there are in a step. */
export type BytesOf = (batch: StepBatch) => number;

/** Of a dispatch that reads or writes such amounts and computes next to nothing. */
export function movingWork(...amounts: readonly BytesOf[]): WorkOf {
  return (batch) => ({
    bytes: amounts.reduce((sum, bytesOf) => sum + bytesOf(batch), 0),
    flop: 0,
    units: "f32",
  });
}

/** Of values as steps store them, f32 or halves, all together. */
export function bytesOfValues(values: readonly Value[], { halfValues }: GpuContext): BytesOf {
  return (batch) =>
    values.reduce((sum, value) => {
      const rows = rowsOf(value, batch), isHalf = rows >= FEWEST_HALF_ROWS && halfValues.has(value);
      return sum + rows * value.width * (isHalf ? 2 : 4);
    }, 0);
}

/** Of the product with a shard of a weight; `written`: bytes of what it leaves, if that is not the output. */
export function productWork(
  node: LinearNode,
  weight: GpuMatrix,
  shard: MatrixShard,
  context: GpuContext,
  units: Work["units"],
  written = bytesOfOutput(node, weight, shard, context),
): WorkOf {
  const { columns, scales } = weight, { buffer, multipliers, numRows } = shard;
  const weightBytes = buffer.size + (multipliers?.size ?? 0) + (scales ? 4 * numRows : 0);
  return (batch) => {
    const count = rowsOf(node.input, batch), inputBytes = count * columns * (units === "matrix" ? 2 : 4);
    return { bytes: weightBytes + inputBytes + written(batch), flop: 2 * count * numRows * columns, units };
  };
}

/** Bytes of a shard's columns of what a linear makes, and of the residual that is added to them. */
export function bytesOfOutput(
  { output, residual }: LinearNode,
  { rows }: GpuMatrix,
  { numRows }: MatrixShard,
  context: GpuContext,
): BytesOf {
  const whole = bytesOfValues(residual ? [output, residual] : [output], context);
  return (batch) => whole(batch) * numRows / rows;
}

/**
 * Of attention over the cache: a row's arithmetic is that over the keys that it sees, and a sequence's keys and values
 * are read once, those of a window where there is one. `written`: bytes of what it leaves, if that is not the output.
 */
export function attentionWork(
  node: AttentionNode,
  context: GpuContext,
  units: Work["units"],
  written = bytesOfValues([node.output], context),
): WorkOf {
  const queryWidth = node.numHeads * node.headSize;
  return (batch) => {
    const numKeys = sum(batch.contextLengths.map((length, i) => {
      const first = length - (batch.queryStart[i + 1] - batch.queryStart[i]) + 1;
      return length - Math.max(0, first - (node.window ?? first));
    }));
    const numPairs = sum(batch.positions.map((position) => Math.min(position + 1, node.window ?? Infinity)));
    const queryBytes = batch.tokenIds.length * queryWidth * 4;
    return {
      bytes: numKeys * kvBytes(node, context) + queryBytes + written(batch),
      flop: 4 * numPairs * queryWidth,
      units,
    };
  };
}

/** Bytes of a token's K and V in a layer. */
export function kvBytes(node: AttentionNode, context: GpuContext): number {
  return 2 * kvRowBytes(node, context.kvCache(node.layer).type);
}

/** How many rows `value` has in a step. */
export function rowsOf({ rows }: Pick<Value, "rows">, batch: StepBatch): number {
  return rows === "tokens" ? batch.tokenIds.length : batch.samples.length;
}

function sum(values: Uint32Array): number {
  return values.reduce((total, value) => total + value, 0);
}
