// What a checkpoint's configuration becomes: a graph with the facts that the rest of the server needs. Every
// architecture (registry.ts) produces this; knows no file format.
import type { Graph } from "../kernels/graph.ts";
import { weightsOf } from "../kernels/graph_weights.ts";
import { requireTensor, type TensorSource } from "../kernels/tensor_source.ts";

export interface Network {
  readonly graph: Graph;
  /** Positions the model has: the hard limit for prompt and completion together. */
  readonly contextLength: number;
  /** Rows of the output head. */
  readonly vocabSize: number;
  /** Channels of a token on its way through the layers. */
  readonly width: number;
  /** Where the graph's weights are, where the file does not hold all of them as they are read: see DerivedSource. */
  readonly tensors?: TensorSource;
}

/** A family of networks: reads its own config.json and writes the forward pass as a graph. */
export interface Architecture {
  /** `model_type` in config.json. */
  readonly modelType: string;
  /**
   * @param config config.json as parsed
   * @param source asked only which tensors exist and their shapes, for families published in several layouts
   * @throws {TypeError} naming the field of the configuration, or the tensor, that cannot be served
   */
  build(config: unknown, source: TensorSource): Network;
}

/** Elements of all weights, a tied head counted once; of what `source` computes, those that it is computed from. */
export function countParameters(graph: Graph, source?: TensorSource): number {
  const stored = weightsOf(graph).flatMap(({ ref }) => source?.computedFrom?.(ref.name) ?? [ref]);
  const byName = new Map(stored.map((ref) => [ref.name, ref.shape.reduce((a, b) => a * b, 1)]));
  return byName.values().reduce((sum, count) => sum + count, 0);
}

/** @throws {TypeError} naming the first weight that the source lacks or has in another shape */
export function requireWeights(graph: Graph, source: TensorSource): void {
  for (const { ref } of weightsOf(graph)) requireTensor(source, ref);
}
