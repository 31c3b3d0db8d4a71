// Which values are left as whole numbers in steps of one row, for the linears that read nothing else: each of their
// workgroups would otherwise turn the row into whole numbers again. Knows no device.
import { type Graph, inputsOf, type LinearNode, type Node } from "./graph.ts";

/** Ids of the values. */
export type WholeNumbers = ReadonlySet<number>;

export const NO_WHOLE_NUMBERS: WholeNumbers = new Set();

/**
 * @param leaves whether such a node's kernel can leave its output so
 * @param takes whether such a linear multiplies whole numbers
 */
export function wholeNumbers(
  graph: Graph,
  leaves: (maker: Node) => boolean,
  takes: (reader: LinearNode) => boolean,
): WholeNumbers {
  const whole = new Set<number>();
  for (const maker of graph.nodes) {
    if (maker.output === graph.output || !leaves(maker)) continue;
    const { output } = maker;
    const readers = graph.nodes.filter((node) => inputsOf(node).includes(output));
    if (
      readers.length > 0 &&
      readers.every((node) => node.op === "linear" && node.residual !== output && takes(node))
    ) whole.add(output.id);
  }
  return whole;
}
