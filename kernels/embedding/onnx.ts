// Embedding on the CPU: rows gathered from the table, plus rows of the position table.
import type { EmbeddingNode } from "../graph.ts";
import { type OnnxContext, RUN_INPUT } from "../onnx.ts";

export function embeddingToOnnx(context: OnnxContext, node: EmbeddingNode): void {
  const tokens = context.emit("Gather", [context.weight(node.table), RUN_INPUT.tokenIds]);
  if (!node.positionTable) return context.define(node.output, tokens);
  const positions = context.emit("Gather", [context.weight(node.positionTable), RUN_INPUT.positions]);
  context.define(node.output, context.emit("Add", [tokens, positions]));
}
