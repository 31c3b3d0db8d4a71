// Which layerNorms need no dispatch of their own in steps of one row: those that only linears read, which then normalise
// their input themselves. Knows no device.
import { type Graph, inputsOf, type LayerNormNode, type LinearNode } from "./graph.ts";

/** By the id of the value that the layerNorm makes. */
export type NormFusion = ReadonlyMap<number, LayerNormNode>;

export const NO_FUSION: NormFusion = new Map();

/**
 * Norms of at most `mostWidth` columns.
 * @param bindsNorm whether such a linear can bind a norm's vectors beside its own buffers
 */
export function fusedNorms(
  graph: Graph,
  mostWidth: number,
  bindsNorm: (linear: LinearNode) => boolean,
): NormFusion {
  const fused = new Map<number, LayerNormNode>();
  for (const norm of graph.nodes) {
    if (norm.op !== "layerNorm" || norm.output === graph.output || norm.input.width > mostWidth) continue;
    const readers = graph.nodes.filter((node) => inputsOf(node).includes(norm.output));
    if (readers.every((node) => node.op === "linear" && bindsNorm(node))) fused.set(norm.output.id, norm);
  }
  return fused;
}
