// Which activations are kept as f16 in steps of many rows: those that only products on matrix units read, which take
// nothing else. What makes such a value rounds it as it stores it. Knows no device.
import { type Graph, inputsOf, type LayerNormNode, type LinearNode, type Node, type Value } from "./graph.ts";
import type { GpuMatrix } from "./gpu_op.ts";
import type { WeightRef } from "./tensor_source.ts";

/** Rows from which a step's products run on matrix units, and its half values are f16; below, everything is f32. */
export const FEWEST_HALF_ROWS = 5;

/** Rows of half values start at multiples of this many elements: whole depths of every form that reads them. */
export const HALVES_ALIGNMENT = 128;

/** 16-byte words of a row of `width` halves. */
export function halvesWords(width: number): number {
  return Math.ceil(width / HALVES_ALIGNMENT) * HALVES_ALIGNMENT / 8;
}

export interface HalfValues {
  has(value: Value): boolean;
  /**
   * The norm of what `linear` makes, where the sum over the parts of a product may normalise on the way: the next node,
   * and a half value.
   */
  normAfter(linear: LinearNode): LayerNormNode | undefined;
  /** The linear that `norm` comes after in this sense. */
  linearBefore(norm: LayerNormNode): LinearNode | undefined;
}

export const NO_HALF_VALUES: HalfValues = {
  has: () => false,
  normAfter: () => undefined,
  linearBefore: () => undefined,
};

/**
 * @param onMatrixUnits whether products with this weight run on matrix units
 */
export function halfValues(
  graph: Graph,
  matrix: (ref: WeightRef) => GpuMatrix,
  onMatrixUnits: (weight: GpuMatrix) => boolean,
): HalfValues {
  const multiplies = (node: Node): node is LinearNode =>
    node.op === "linear" && onMatrixUnits(matrix(node.weight));
  const readers = (value: Value) => graph.nodes.filter((node) => inputsOf(node).includes(value));
  const halves = new Set<number>();
  for (const node of graph.nodes) {
    const { output } = node;
    if (output === graph.output || !roundsItsOutput(node, multiplies)) continue;
    if (readers(output).every((reader) => multiplies(reader) && reader.residual !== output)) {
      halves.add(output.id);
    }
  }
  const norms = new Map<LinearNode, LayerNormNode>(), linears = new Map<LayerNormNode, LinearNode>();
  graph.nodes.forEach((norm, i) => {
    const linear = graph.nodes[i - 1];
    if (norm.op !== "layerNorm" || !halves.has(norm.output.id) || norm.input !== linear?.output) return;
    if (!multiplies(linear) || linear.activation || matrix(linear.weight).shards.length > 1) return;
    norms.set(linear, norm);
    linears.set(norm, linear);
  });
  return {
    has: ({ id }) => halves.has(id),
    normAfter: (linear) => norms.get(linear),
    linearBefore: (norm) => linears.get(norm),
  };
}

/** Ops whose every form can store halves. */
function roundsItsOutput(node: Node, multiplies: (node: Node) => boolean): boolean {
  switch (node.op) {
    case "layerNorm":
      return true;
    case "linear":
      return multiplies(node) && !node.residual;
    case "attention":
      return node.headSize % 4 === 0;
    default:
      return false;
  }
}

/** WGSL: packs four values as f16. Beyond f16's range packing would give anything at all. */
export const PACK_HALVES = `fn packHalves(quad: vec4<f32>) -> vec2<u32> {
    let value = clamp(quad, vec4<f32>(-65504.0), vec4<f32>(65504.0));
    return vec2<u32>(pack2x16float(value.xy), pack2x16float(value.zw));
}`;
