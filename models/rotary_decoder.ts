// The frame that decoders with rotary positions and grouped-query attention share (Qwen2, StarCoder2): embedding, blocks,
// last norm, head, and the tensors that are made of several. What a block computes is each architecture's own.
import type { Value } from "../kernels/graph.ts";
import { GraphBuilder } from "../kernels/graph_builder.ts";
import type { TensorSource, WeightRef } from "../kernels/tensor_source.ts";
import { DerivedSource } from "./derived_source.ts";
import type { Network } from "./network.ts";
import { rotaryTurns } from "./rotary.ts";
import { type GroupedHeads, StackedRefs } from "./stacked_refs.ts";
import { StackedSource } from "./stacked_source.ts";

export interface RotaryDecoderConfig extends GroupedHeads {
  readonly vocabSize: number;
  readonly contextLength: number;
  readonly innerWidth: number;
  readonly numLayers: number;
  readonly rotaryBase: number;
  readonly epsilon: number;
  readonly tiedHead: boolean;
}

export interface DecoderParts {
  /** Of tokens [tokens, width]; `name` is its layer's, as "model.layers.0". */
  block(b: GraphBuilder, name: string, x: Value, turns: WeightRef, stacks: StackedRefs): Value;
  lastNorm(b: GraphBuilder, name: string, x: Value): Value;
}

/** @throws {TypeError} naming a tensor that is missing or misshapen */
export function buildRotaryDecoder(
  { vocabSize, contextLength, width, numLayers, headSize, rotaryBase, tiedHead }: RotaryDecoderConfig,
  source: TensorSource,
  { block, lastNorm }: DecoderParts,
): Network {
  // Files saved from the bare model, without its language-model head, lack the prefix.
  const prefix = source.find("embed_tokens.weight") ? "" : "model.";
  const stacks = new StackedRefs(source), b = new GraphBuilder();
  const turns = rotaryTurns("rotary_turns", {
    dims: headSize,
    base: rotaryBase,
    numPositions: contextLength,
  });
  const table: WeightRef = { name: `${prefix}embed_tokens.weight`, shape: [vocabSize, width] };
  let x = b.embedding(table);
  for (let layer = 0; layer < numLayers; layer++) {
    x = block(b, `${prefix}layers.${layer}`, x, turns, stacks);
  }
  // Only rows that are sampled pay for the last norm and the head.
  x = lastNorm(b, `${prefix}norm`, b.gatherRows(x));
  const graph = b.build(b.linear(x, tiedHead ? table : { ...table, name: "lm_head.weight" }));
  const tensors = new DerivedSource(new StackedSource(source, stacks.parts), [turns]);
  return { graph, tensors, contextLength, vocabSize, width };
}
