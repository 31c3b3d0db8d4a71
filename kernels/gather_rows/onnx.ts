// gatherRows on the CPU: a Gather along the rows; no row at all is a valid choice.
import type { GatherRowsNode } from "../graph.ts";
import { type OnnxContext, RUN_INPUT } from "../onnx.ts";

export function gatherRowsToOnnx(context: OnnxContext, node: GatherRowsNode): void {
  context.define(node.output, context.emit("Gather", [context.nameOf(node.input), RUN_INPUT.sampleRows]));
}
