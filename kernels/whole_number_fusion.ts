// Which values are left as whole numbers in steps of one row, for the linears that read nothing else: each of their
// workgroups would otherwise turn the row into whole numbers again. Knows no device.
import { type Graph, inputsOf, type LinearNode, type Node } from "./graph.ts";
import type { WholeType } from "./linear/fixed_point.ts";

/** What kind, by the ids of the values. */
export type WholeNumbers = ReadonlyMap<number, WholeType>;

export const NO_WHOLE_NUMBERS: WholeNumbers = new Map();

/**
 * @param leaves whether such a node's kernel can leave its output so
 * @param typeOf the whole numbers that such a linear multiplies, if it does
 */
export function wholeNumbers(
  graph: Graph,
  leaves: (maker: Node, type: WholeType) => boolean,
  typeOf: (reader: LinearNode) => WholeType | undefined,
): WholeNumbers {
  const whole = new Map<number, WholeType>();
  for (const maker of graph.nodes) {
    const { output } = maker;
    if (output === graph.output) continue;
    const readers = graph.nodes.filter((node) => inputsOf(node).includes(output));
    const types = new Set(
      readers.map((node) => node.op === "linear" && node.residual !== output ? typeOf(node) : undefined),
    );
    const [type] = types;
    if (types.size === 1 && type && leaves(maker, type)) whole.set(output.id, type);
  }
  return whole;
}
