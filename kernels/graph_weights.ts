// The weights that a graph names, and what each is used for. Knows no checkpoint and no device.
import type { Graph, Node } from "./graph.ts";
import type { WeightRef } from "./tensor_source.ts";

/**
 * A weight by the role it plays: all but vectors and filters are matrices on the device; quantisation compresses some of
 * them. Filters stay with the host, which makes from them what the device multiplies by.
 */
export interface WeightUse {
  readonly ref: WeightRef;
  readonly role: "matrix" | "embedding" | "positions" | "vector" | "filter";
}

/** All weights of a graph, each once however many nodes use it, in the order of first use. */
export function weightsOf(graph: Graph): WeightUse[] {
  const uses = new Map<string, WeightUse>();
  for (const use of graph.nodes.flatMap(weightsOfNode)) {
    if (!uses.has(use.ref.name)) uses.set(use.ref.name, use);
  }
  return [...uses.values()];
}

function weightsOfNode(node: Node): WeightUse[] {
  switch (node.op) {
    case "embedding": {
      const table: WeightUse = { ref: node.table, role: "embedding" };
      return node.positionTable ? [table, { ref: node.positionTable, role: "positions" }] : [table];
    }
    case "layerNorm":
      return vectors(node.scale, node.bias);
    case "linear": {
      const weight: WeightUse = { ref: node.weight, role: "matrix" };
      return node.bias ? [weight, { ref: node.bias, role: "vector" }] : [weight];
    }
    case "rotary":
      return vectors(node.turns);
    case "longConvolution":
    case "convolutionHistory":
      return [{ ref: node.filter, role: "filter" }];
    case "shortConvolution":
      return vectors(node.filter, node.bias);
    case "diagonalSsm":
      return [
        { ref: node.poles, role: "filter" },
        { ref: node.residues, role: "filter" },
        ...vectors(node.skip),
      ];
    default:
      return [];
  }
}

function vectors(...refs: (WeightRef | undefined)[]): WeightUse[] {
  return refs.flatMap((ref) => ref ? [{ ref, role: "vector" as const }] : []);
}
