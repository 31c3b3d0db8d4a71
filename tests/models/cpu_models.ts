// Small random decoders for the CPU runner's tests, and the batches to run them with. Knows no runner.
import type { Activation, Graph, Value } from "../../kernels/graph.ts";
import { GraphBuilder } from "../../kernels/graph_builder.ts";
import { BLOCK_SIZE, type SampleRequest, type StepBatch } from "../../kernels/step.ts";
import type { TensorDtype } from "../../kernels/tensor_source.ts";
import { MemorySource } from "../kernels/memory_source.ts";
import type { Random } from "../kernels/random.ts";

export interface DecoderShape {
  readonly name: string;
  readonly layers: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headSize: number;
  readonly innerWidth: number;
  readonly activation: Activation;
  readonly storage: TensorDtype;
  readonly tied: boolean;
}

export const VOCAB_SIZE = 97;
export const CONTEXT_LENGTH = 160;

export const DECODER_SHAPES: readonly DecoderShape[] = [
  shape("multi-query, gelu_tanh, tied", { numHeads: 4, numKvHeads: 1, headSize: 16, tied: true }),
  shape("multi-query, odd widths, gelu_erf", {
    numHeads: 3,
    numKvHeads: 1,
    headSize: 17,
    innerWidth: 71,
    activation: "gelu_erf",
  }),
  shape("multi-head, f16", { numHeads: 3, numKvHeads: 3, headSize: 20, storage: "F16" }),
  shape("grouped-query, bf16, tied", {
    numHeads: 6,
    numKvHeads: 2,
    headSize: 12,
    storage: "BF16",
    tied: true,
  }),
  shape("multi-query, int8, tied", { numHeads: 5, numKvHeads: 1, headSize: 9, storage: "I8", tied: true }),
  shape("multi-query, int4, tied", { numHeads: 5, numKvHeads: 1, headSize: 9, storage: "I4", tied: true }),
];

function shape(
  name: string,
  given: Partial<DecoderShape> & Pick<DecoderShape, "numHeads" | "numKvHeads" | "headSize">,
): DecoderShape {
  return { layers: 2, innerWidth: 96, activation: "gelu_tanh", storage: "F32", tied: false, ...given, name };
}

export interface RandomDecoder {
  readonly graph: Graph;
  readonly source: MemorySource;
}

/** A pre-LayerNorm decoder whose weights are drawn from N(0, 0.3²), so that continuations vary. */
export function randomDecoder(random: Random, decoder: DecoderShape): RandomDecoder {
  const { numHeads, numKvHeads, headSize, innerWidth, activation, storage } = decoder;
  const width = numHeads * headSize, source = new MemorySource(), b = new GraphBuilder();
  const matrix = (name: string, rows: number, columns: number) =>
    source.add(name, [rows, columns], random.normals(rows * columns, 0, 0.3), storage);
  const vector = (name: string, mean: number) => source.add(name, [width], random.normals(width, mean, 0.3));
  const bias = (name: string, length: number) => source.add(name, [length], random.normals(length, 0, 0.3));
  const norm = (name: string, x: Value) =>
    b.layerNorm(x, vector(`${name}.weight`, 1), vector(`${name}.bias`, 0), 1e-5);

  const table = matrix("embedding", VOCAB_SIZE, width);
  let x = b.embedding(table, matrix("positions", CONTEXT_LENGTH, width));
  for (let layer = 0; layer < decoder.layers; layer++) {
    const qkvWidth = (numHeads + 2 * numKvHeads) * headSize;
    const qkv = b.linear(norm(`${layer}.norm_1`, x), matrix(`${layer}.qkv`, qkvWidth, width), {
      bias: bias(`${layer}.qkv_bias`, qkvWidth),
    });
    const attention = b.attention(qkv, { numHeads, numKvHeads, headSize, scale: headSize ** -0.5 });
    x = b.linear(attention, matrix(`${layer}.out`, width, width), {
      bias: bias(`${layer}.out_bias`, width),
      residual: x,
    });
    const inner = b.linear(norm(`${layer}.norm_2`, x), matrix(`${layer}.up`, innerWidth, width), {
      bias: bias(`${layer}.up_bias`, innerWidth),
      activation,
    });
    x = b.linear(inner, matrix(`${layer}.down`, width, innerWidth), { residual: x });
  }
  const head = decoder.tied ? table : matrix("head", VOCAB_SIZE, width);
  return { graph: b.build(b.linear(norm("last", b.gatherRows(x)), head)), source };
}

/** A sequence as a test sees it: tokens so far, how many of them are cached, and its blocks. */
export class TestSequence {
  readonly tokens: number[];
  readonly blocks: readonly number[];
  numCached = 0;

  constructor(prompt: Iterable<number>, blocks: readonly number[]) {
    this.tokens = [...prompt];
    this.blocks = blocks;
  }
}

/** One step for `chunks`: the next `count` tokens of each sequence, sampling after the last (or after every one). */
export function packBatch(
  chunks: readonly { readonly sequence: TestSequence; readonly count: number }[],
  sampling: Partial<SampleRequest> & { readonly everyRow?: boolean } = {},
): StepBatch {
  const rows = chunks.flatMap(({ sequence, count }) =>
    Array.from({ length: count }, (_, i) => ({ sequence, position: sequence.numCached + i }))
  );
  const queryStart = [0];
  for (const { count } of chunks) queryStart.push(queryStart.at(-1)! + count);
  const { everyRow, ...request } = sampling;
  const sampled = everyRow ? rows.map((_, row) => row) : queryStart.slice(1).map((end) => end - 1);
  return {
    tokenIds: Uint32Array.from(rows, ({ sequence, position }) => sequence.tokens[position]),
    positions: Uint32Array.from(rows, ({ position }) => position),
    slotMapping: Uint32Array.from(rows, ({ sequence, position }) => slotOf(sequence, position)),
    queryStart: Uint32Array.from(queryStart),
    contextLengths: Uint32Array.from(chunks, ({ sequence, count }) => sequence.numCached + count),
    blockTables: chunks.map(({ sequence, count }) =>
      Uint32Array.from(sequence.blocks.slice(0, Math.ceil((sequence.numCached + count) / BLOCK_SIZE)))
    ),
    samples: sampled.map((row) => ({
      params: { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] },
      counter: rows[row].position,
      topLogprobs: -1,
      ...request,
      row,
    })),
    readLogits: true,
  };
}

function slotOf(sequence: TestSequence, position: number): number {
  return sequence.blocks[Math.floor(position / BLOCK_SIZE)] * BLOCK_SIZE + position % BLOCK_SIZE;
}
