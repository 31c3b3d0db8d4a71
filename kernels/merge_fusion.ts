// Which attentions leave it to the linear that reads them to join their splits, in steps of one row over a short context: a
// merge then costs no dispatch of its own. Knows no device.
import { type AttentionNode, type Graph, inputsOf, type LinearNode } from "./graph.ts";

/** By the id of the value that the attention makes. */
export type MergeFusion = ReadonlyMap<number, AttentionNode>;

export const NO_MERGES: MergeFusion = new Map();

/** @param bindsMerge whether such a linear can bind the splits' results beside its own buffers */
export function fusedMerges(graph: Graph, bindsMerge: (linear: LinearNode) => boolean): MergeFusion {
  const fused = new Map<number, AttentionNode>();
  graph.nodes.forEach((node, i) => {
    const reader = graph.nodes[i + 1];
    if (node.op !== "attention" || node.headSize % 4 !== 0 || node.output === graph.output) return;
    const readers = graph.nodes.filter((other) => inputsOf(other).includes(node.output));
    // The next node: another attention's splits would take the place of these.
    if (readers.length !== 1 || readers[0] !== reader) return;
    if (reader.op === "linear" && reader.input === node.output && bindsMerge(reader)) {
      fused.set(node.output.id, node);
    }
  });
  return fused;
}
