// Causal attention over the paged cache: new keys and values are stored in f16, and every row attends.
import { GraphBuilder } from "../../../kernels/graph_builder.ts";
import { RandomVectors } from "../random_vectors.ts";
import type { Operator } from "./operator.ts";

const HEAD_SIZE = 128;

/** @param numKvHeads of keys and values; as many as there are heads where undefined */
export function attentionOperator(width: number, numKvHeads?: number): Operator {
  const headSize = Math.min(HEAD_SIZE, width), numHeads = width / headSize, kvHeads = numKvHeads ?? numHeads;
  const builder = new GraphBuilder(), scale = headSize ** -0.5;
  const rowWidth = width + 2 * kvHeads * headSize;
  const qkv = builder.input("qkv", rowWidth);
  const shape = { numHeads, numKvHeads: kvHeads, headSize, scale };
  return {
    graph: builder.build(builder.attention(qkv, shape)),
    weights: new RandomVectors(),
    // Of long texts the outputs are small means of values in f16.
    tolerance: 1e-2,
    samples: 40,
    expected: ({ qkv }, channel, t) => {
      const head = Math.floor(channel / headSize), kvHead = Math.floor(head / (numHeads / kvHeads));
      const q = t * rowWidth + head * headSize, k = width + kvHead * headSize;
      const v = width + kvHeads * headSize + kvHead * headSize + channel % headSize;
      let total = 0, sum = 0;
      for (let j = 0; j <= t; j++) {
        let score = 0;
        for (let d = 0; d < headSize; d++) score += qkv[q + d] * qkv[j * rowWidth + k + d];
        // Scores of random values are small: no largest one needs to be taken off.
        const weight = Math.exp(scale * score);
        total += weight;
        sum += weight * qkv[j * rowWidth + v];
      }
      return sum / total;
    },
  };
}
