// The decoder that H3 and Hyena share, as a graph: embedding without positions, pre-norm blocks of a mixer and an MLP,
// final norm and head. What mixes tokens is each family's own.
import type { Graph, Value } from "../kernels/graph.ts";
import { GraphBuilder } from "../kernels/graph_builder.ts";
import { BLOCK_EPSILON, type DecoderLayout, type LinearRefs, type NormRefs } from "./decoder_layout.ts";

/**
 * @param epsilon of the final norm
 * @param mix layer's mixer of normed rows, `residual` added to what it gives
 */
export function buildDecoder(
  layout: DecoderLayout,
  epsilon: number,
  mix: (b: GraphBuilder, x: Value, residual: Value, layer: number) => Value,
): Graph {
  const b = new GraphBuilder();
  let x = b.embedding(layout.embedding);
  layout.blocks.forEach(({ norm1, norm2, fc1, fc2 }, layer) => {
    x = mix(b, normalise(b, x, norm1, BLOCK_EPSILON), x, layer);
    const inner = b.linear(normalise(b, x, norm2, BLOCK_EPSILON), fc1.weight, {
      bias: fc1.bias,
      activation: "gelu_tanh",
    });
    x = b.linear(inner, fc2.weight, { bias: fc2.bias, residual: x });
  });
  // Only rows that are sampled pay for the last norm and the head.
  return b.build(b.linear(normalise(b, b.gatherRows(x), layout.finalNorm, epsilon), layout.head));
}

export function project(b: GraphBuilder, x: Value, { weight, bias }: LinearRefs, residual?: Value): Value {
  return b.linear(x, weight, { bias, ...(residual && { residual }) });
}

function normalise(b: GraphBuilder, x: Value, { scale, bias }: NormRefs, epsilon: number): Value {
  return b.layerNorm(x, scale, bias, epsilon);
}
