// Attention on the CPU. Earlier keys come in as inputs that nobody copies, so they are never joined with the new ones:
// scores against both are computed apart, joined as scores, normalised together, and split again for the two products
// with V. Rows of all query heads that share a KV head are packed into one matrix, T * group rows, so that a batch of
// decodes is B small matrix products and not B * heads vector products.
import type { AttentionNode } from "../graph.ts";
import { keyInput, keyOutput, type OnnxContext, RUN_INPUT, valueInput, valueOutput } from "../onnx.ts";

export function attentionToOnnx(context: OnnxContext, node: AttentionNode): void {
  const { layer, numHeads, numKvHeads, headSize } = node;
  const sizes = context.int64([numHeads * headSize, numKvHeads * headSize, numKvHeads * headSize]);
  const [q, k, v] = context.split(context.nameOf(node.input), sizes, 1, 3, [
    undefined,
    keyOutput(layer),
    valueOutput(layer),
  ]);
  const query = queriesByKvHead(context, node, q);
  const [key, value] = [k, v].map((rows) => rowsByKvHead(context, node, rows));

  const scores = [keyInput(layer), key].map((keys) =>
    context.emit("FusedMatMul", [query, keys], { transB: 1n, alpha: node.scale })
  );
  const [past, fresh] = normalise(context, node, scores);
  const output = context.emit("Add", [
    context.emit("MatMul", [past, valueInput(layer)]),
    context.emit("MatMul", [fresh, value]),
  ]);
  context.define(node.output, rowsByToken(context, node, output));
}

/** Scores [B, KV, T * group, L] and [B, KV, T * group, T] -> the probabilities of a joint, masked softmax. */
function normalise(context: OnnxContext, node: AttentionNode, scores: string[]): string[] {
  const { numKvHeads } = node;
  const joined = context.emit("Concat", scores, { axis: -1n });
  const byToken = context.emit("Reshape", [joined, shape(context, [numKvHeads, "queries", group(node), -1])]);
  const masked = context.emit("Add", [byToken, RUN_INPUT.mask]);
  const probabilities = context.emit("Softmax", [masked], { axis: -1n });
  const packed = context.emit("Reshape", [probabilities, shape(context, [numKvHeads, -1, "keys"])]);
  return context.split(packed, RUN_INPUT.keyCounts, -1, 2);
}

/** [B * T, H * d] -> [B, KV, T * group, d] */
function queriesByKvHead(context: OnnxContext, node: AttentionNode, q: string): string {
  const { numKvHeads, headSize } = node;
  const packedShape = shape(context, [numKvHeads, -1, headSize]);
  if (numKvHeads === 1) return context.emit("Reshape", [q, packedShape]);
  const byToken = context.emit("Reshape", [q, shape(context, [-1, numKvHeads, group(node), headSize])]);
  const byHead = context.emit("Transpose", [byToken], { perm: [0n, 2n, 1n, 3n, 4n] });
  return context.emit("Reshape", [byHead, packedShape]);
}

/** [B * T, KV * d] -> [B, KV, T, d] */
function rowsByKvHead(context: OnnxContext, node: AttentionNode, rows: string): string {
  const { numKvHeads, headSize } = node;
  if (numKvHeads === 1) return context.emit("Reshape", [rows, shape(context, [1, -1, headSize])]);
  const byToken = context.emit("Reshape", [rows, shape(context, [-1, numKvHeads, headSize])]);
  return context.emit("Transpose", [byToken], { perm: [0n, 2n, 1n, 3n] });
}

/** [B, KV, T * group, d] -> [B * T, H * d] */
function rowsByToken(context: OnnxContext, node: AttentionNode, output: string): string {
  const { numHeads, numKvHeads, headSize } = node;
  const flat = context.int64([-1, numHeads * headSize]);
  if (numKvHeads === 1) return context.emit("Reshape", [output, flat]);
  const byHead = context.emit("Reshape", [output, shape(context, [numKvHeads, -1, group(node), headSize])]);
  const byToken = context.emit("Transpose", [byHead], { perm: [0n, 2n, 1n, 3n, 4n] });
  return context.emit("Reshape", [byToken, flat]);
}

/** Query heads per KV head. */
function group(node: AttentionNode): number {
  return node.numHeads / node.numKvHeads;
}

/** The shape [B, ...dimensions] as a tensor; "queries" is T, "keys" L + T. Made once per distinct shape. */
function shape(context: OnnxContext, dimensions: readonly (number | "queries" | "keys")[]): string {
  return context.shared(`shape ${dimensions}`, () => {
    const parts = dimensions.map((dimension) =>
      typeof dimension === "number"
        ? context.int64([dimension])
        : context.shared(dimension, () =>
          dimension === "queries"
            ? context.emit("Gather", [RUN_INPUT.keyCounts, context.int64([1])])
            : context.emit("ReduceSum", [RUN_INPUT.keyCounts, context.int64([0])], { keepdims: 1n }))
    );
    return context.emit("Concat", [RUN_INPUT.batchSize, ...parts], { axis: 0n });
  });
}
