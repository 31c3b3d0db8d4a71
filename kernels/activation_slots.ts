// Which activations may share memory: one slot per value, handed on when the value's last reader has run. Knows no
// device.
import { type Graph, inputsOf, type Node, type Rows, type Value } from "./graph.ts";
import { NO_FUSION, type NormFusion } from "./norm_fusion.ts";

/** Memory for a matrix of activations; values with the same slot never live at the same time. */
export interface ActivationSlot {
  readonly rows: Rows;
  readonly width: number;
}

/**
 * The slot of every value, by the value's id. Slots pass only between values of equal shape: the zero padding of rows
 * then stays zero. A node's output never takes its own input's slot, which WebGPU forbids to bind both for reading and
 * writing. Inputs, which are written before the first node runs, have slots of their own, and so has the graph's output.
 * The readers of a fused norm read its input as well.
 */
export function assignActivationSlots(
  graph: Graph,
  fusion: NormFusion = NO_FUSION,
): Map<number, ActivationSlot> {
  const readsOf = (node: Node) =>
    inputsOf(node).flatMap((value) => {
      const norm = fusion.get(value.id);
      return norm ? [value, norm.input] : [value];
    });
  const lastUse = new Map<number, number>();
  graph.nodes.forEach((node, i) => readsOf(node).forEach((value) => lastUse.set(value.id, i)));
  lastUse.set(graph.output.id, Infinity);
  const free = new Map<string, ActivationSlot[]>();
  const assigned = new Map<number, ActivationSlot>();
  const shapeOf = (value: Value) => `${value.rows} x ${value.width}`;
  graph.nodes.forEach((node, i) => {
    const { output } = node;
    const reused = node.op === "input" ? undefined : free.get(shapeOf(output))?.pop();
    assigned.set(output.id, reused ?? { rows: output.rows, width: output.width });
    for (const value of new Set(readsOf(node))) {
      if (lastUse.get(value.id) !== i) continue;
      const pool = free.get(shapeOf(value)) ?? [];
      free.set(shapeOf(value), [...pool, assigned.get(value.id)!]);
    }
  });
  return assigned;
}
