// A language model of two layers with random weights, and steps of it, for tests of what is measured and not computed.
import type { Graph, Value } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { BLOCK_SIZE, type StepBatch, type StepLimits } from "../../kernels/step.ts";
import { MemorySource } from "./memory_source.ts";
import type { Random } from "./random.ts";

export const TWO_LAYERS = { width: 128, innerWidth: 256, numHeads: 4, headSize: 32, vocabSize: 300 } as const;

export interface TwoLayers {
  readonly graph: Graph;
  readonly source: MemorySource;
  readonly limits: StepLimits;
}

/** Weights are f16, tensors named as GPT-2's are. */
export function buildTwoLayers(random: Random): TwoLayers {
  const { width, innerWidth, numHeads, headSize, vocabSize } = TWO_LAYERS;
  const b = new GraphBuilder(), source = new MemorySource();
  const vector = (name: string, size: number) => source.add(name, [size], random.normals(size));
  const matrix = (name: string, rows: number, columns: number) =>
    source.add(name, [rows, columns], random.normals(rows * columns, 0, columns ** -0.5), "F16");
  const norm = (x: Value, name: string) =>
    b.layerNorm(x, vector(`${name}.weight`, width), vector(`${name}.bias`, width), 1e-5);
  const table = matrix("wte.weight", vocabSize, width);
  let x = b.embedding(table, matrix("wpe.weight", 64, width));
  for (const layer of ["h.0", "h.1"]) {
    const qkv = b.linear(
      norm(x, `${layer}.ln_1`),
      matrix(`${layer}.attn.weight`, width + 2 * headSize, width),
    );
    const attended = b.attention(qkv, { numHeads, numKvHeads: 1, headSize, scale: headSize ** -0.5 });
    x = b.linear(attended, matrix(`${layer}.proj.weight`, width, width), { residual: x });
    const inner = b.linear(norm(x, `${layer}.ln_2`), matrix(`${layer}.fc.weight`, innerWidth, width), {
      activation: "gelu_tanh",
    });
    x = b.linear(inner, matrix(`${layer}.back.weight`, width, innerWidth), { residual: x });
  }
  const graph = b.build(b.linear(b.gatherRows(norm(x, "ln_f")), table));
  const limits = { maxTokens: 32, maxSequences: 8, maxSamples: 8, maxBlocksPerSequence: 4, numBlocks: 32 };
  return { graph, source, limits };
}

/** A step with a token to draw for each sequence: `counts` new tokens after `prefixes` that are in the cache. */
export function stepOf(prefixes: readonly number[], counts: readonly number[]): StepBatch {
  const rows = counts.flatMap((count, s) =>
    Array.from({ length: count }, (_, i) => ({ s, position: prefixes[s] + i }))
  );
  const queryStart = [0];
  for (const count of counts) queryStart.push(queryStart.at(-1)! + count);
  return {
    tokenIds: Uint32Array.from(rows, (_, row) => row + 1),
    positions: Uint32Array.from(rows, ({ position }) => position),
    slotMapping: Uint32Array.from(rows, ({ s, position }) => 4 * s * BLOCK_SIZE + position),
    queryStart: Uint32Array.from(queryStart),
    contextLengths: Uint32Array.from(counts, (count, s) => prefixes[s] + count),
    blockTables: counts.map((_, s) => Uint32Array.from({ length: 4 }, (_, block) => 4 * s + block)),
    samples: counts.map((_, s) => ({
      row: queryStart[s + 1] - 1,
      params: { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] },
      counter: 0,
      topLogprobs: -1,
    })),
  };
}
