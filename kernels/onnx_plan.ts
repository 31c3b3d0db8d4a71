// Runs a graph on the CPU: an onnxruntime session with the graph's weights, and the KV cache it works on. A step is
// one run for all sequences with a single new token, and one for each other sequence. Knows no sampling.
import {
  MAX_HEAP_BYTES,
  type OrtFile,
  type OrtInput,
  type OrtOutputs,
  OrtRuntime,
  type OrtSession,
} from "../device/ort.ts";
import { kvBytesPerToken, KvPages, KvStaging } from "./attention/onnx_kv_cache.ts";
import type { Graph, GraphInputs } from "./graph.ts";
import type { HostPlan, OnRow } from "./host_plan.ts";
import {
  keyInput,
  keyOutput,
  lowerToOnnx,
  MASKED,
  type OnnxProgram,
  RUN_INPUT,
  valueInput,
  valueOutput,
} from "./onnx.ts";
import type { StepBatch } from "./step.ts";
import { loadFloat32, requireTensor, type TensorSource } from "./tensor_source.ts";

export interface OnnxPlanOptions {
  /** Threads that compute, the calling one included; or a runtime with heap enough, shared with other plans. */
  readonly threads: number | OrtRuntime;
  /** Blocks of the KV cache. */
  readonly numBlocks: number;
  /** Bytes of heap for the caches of the sequences of one run; more sequences are run in turns. */
  readonly stagingBytes: number;
  /** Called with the share of the weights' bytes that are read, 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
}

/** A sequence's part of a batch. */
interface Sequence {
  readonly firstRow: number;
  readonly numRows: number;
  readonly pastLength: number;
  readonly blockTable: Uint32Array;
}

/** Heap for activations, the session and what fragmentation wastes. */
const WORKING_BYTES = 512 * 2 ** 20;

/** Attention scores of one run and layer; some three such matrices live at once, within the working memory. */
const MAX_SCORES = 2 ** 24;

export class OnnxPlan implements HostPlan {
  readonly #graph: Graph;
  readonly #session: OrtSession;
  readonly #pages: KvPages;
  /** Sequences that decode stay staged while prompts come and go. */
  readonly #decoding: KvStaging;
  readonly #prefilling: KvStaging;
  readonly #maxStagedTokens: number;
  /** Query heads of the layer that has most. */
  readonly #maxHeads: number;
  /** Keys that a row sees at most. */
  readonly #window: number;
  readonly #outputName: string;
  readonly #outputNames: readonly string[];

  private constructor(
    graph: Graph,
    session: OrtSession,
    outputName: string,
    runtime: OrtRuntime,
    options: OnnxPlanOptions,
  ) {
    this.#graph = graph;
    this.#session = session;
    this.#pages = new KvPages(graph.kvLayers, options.numBlocks);
    this.#decoding = new KvStaging(runtime, this.#pages);
    this.#prefilling = new KvStaging(runtime, this.#pages);
    this.#maxStagedTokens = options.stagingBytes / kvBytesPerToken(graph.kvLayers);
    this.#maxHeads = Math.max(
      1,
      ...graph.nodes.map((node) => node.op === "attention" ? node.numHeads : 0),
    );
    this.#window = windowOf(graph);
    const caches = graph.kvLayers.flatMap((_, layer) => [keyOutput(layer), valueOutput(layer)]);
    this.#outputName = outputName;
    this.#outputNames = [outputName, ...caches];
  }

  /**
   * @throws {TypeError} naming a tensor that the source lacks or has in another shape
   * @throws {RangeError} when the model does not fit into WebAssembly's memory; nothing is loaded then
   */
  static async create(graph: Graph, source: TensorSource, options: OnnxPlanOptions): Promise<OnnxPlan> {
    const program = lowerToOnnx(graph);
    const heapBytes = requireRoom(program, source, options.stagingBytes);
    const { threads } = options;
    const runtime = typeof threads === "number" ? await OrtRuntime.open(threads, heapBytes) : threads;
    const files = await loadWeights(program, source, options.onProgress);
    const session = await runtime.createSession(program.model, files);
    return new OnnxPlan(graph, session, program.outputName, runtime, options);
  }

  async step(batch: StepBatch, onRow: OnRow, inputs: GraphInputs = {}): Promise<void> {
    for (const copy of batch.copies ?? []) this.#pages.copyRows(copy);
    const sequences = batch.blockTables.map((_, i) => sequenceOf(batch, i));
    const decodes = sequences.filter((sequence) => sequence.numRows === 1);
    for (const group of this.#groups(decodes)) await this.#run(group, this.#decoding, batch, onRow, inputs);
    for (const sequence of sequences) {
      if (sequence.numRows === 1) continue;
      for (const chunk of this.#chunks(sequence)) {
        await this.#run([chunk], this.#prefilling, batch, onRow, inputs);
      }
    }
  }

  [Symbol.dispose](): void {
    this.#decoding[Symbol.dispose]();
    this.#prefilling[Symbol.dispose]();
    this.#session[Symbol.dispose]();
  }

  /** Cuts the sequences into runs whose caches can be staged together. */
  #groups(sequences: readonly Sequence[]): Sequence[][] {
    const longest = Math.max(1, ...sequences.map((sequence) => sequence.pastLength));
    const size = Math.max(1, Math.floor(this.#maxStagedTokens / longest));
    const groups: Sequence[][] = [];
    for (let i = 0; i < sequences.length; i += size) groups.push(sequences.slice(i, i + size));
    return groups;
  }

  /** Cuts a prompt into runs whose attention scores have room. */
  #chunks({ firstRow, numRows, pastLength, blockTable }: Sequence): Sequence[] {
    const scoresPerRow = this.#maxHeads * (pastLength + numRows);
    const size = Math.max(1, Math.floor(MAX_SCORES / scoresPerRow));
    const chunks: Sequence[] = [];
    for (let done = 0; done < numRows; done += size) {
      chunks.push({
        firstRow: firstRow + done,
        numRows: Math.min(size, numRows - done),
        pastLength: pastLength + done,
        blockTable,
      });
    }
    return chunks;
  }

  /** Runs sequences with equally many new tokens each. */
  async #run(
    sequences: readonly Sequence[],
    staging: KvStaging,
    batch: StepBatch,
    onRow: OnRow,
    inputs: GraphInputs,
  ): Promise<void> {
    const places = staging.stage(sequences);
    const placed = sequences.map((_, place) => sequences[places.indexOf(place)]);
    const rows = placed.flatMap(({ firstRow, numRows }) =>
      Array.from({ length: numRows }, (_, i) => firstRow + i)
    );
    const sampled = this.#graph.output.rows === "samples" ? samplesOf(batch, rows) : [];
    using outputs = await this.#session.run(
      {
        ...this.#graphInputs(rows, inputs),
        ...stepInputs(placed, staging.stride, batch, rows, sampled.map((sample) => sample.row), this.#window),
        ...this.#cacheInputs(placed.length, staging),
      },
      this.#outputNames,
    );
    this.#store(placed, staging, batch, outputs);
    const indices = this.#graph.output.rows === "samples" ? sampled.map((sample) => sample.index) : rows;
    const values = outputs.values(this.#outputName), { width } = this.#graph.output;
    indices.forEach((index, i) => onRow(index, values.subarray(i * width, (i + 1) * width)));
  }

  #graphInputs(rows: readonly number[], inputs: GraphInputs): Record<string, OrtInput> {
    const own: Record<string, OrtInput> = {};
    for (const node of this.#graph.nodes) {
      if (node.op !== "input") continue;
      const { width } = node.output, data = new Float32Array(rows.length * width);
      const values = inputs[node.name];
      if (!values) throw new TypeError(`Cannot run graph: input "${node.name}" is missing`);
      rows.forEach((row, i) => data.set(values.subarray(row * width, (row + 1) * width), i * width));
      own[node.name] = { data, shape: [rows.length, width] };
    }
    return own;
  }

  #cacheInputs(numSequences: number, staging: KvStaging): Record<string, OrtInput> {
    const inputs: Record<string, OrtInput> = {};
    this.#graph.kvLayers.forEach(({ numKvHeads, headSize }, layer) => {
      const shape = [numSequences, numKvHeads, staging.stride, headSize];
      inputs[keyInput(layer)] = { buffer: staging.layers[layer].key, shape };
      inputs[valueInput(layer)] = { buffer: staging.layers[layer].value, shape };
    });
    return inputs;
  }

  /** Puts the new keys and values into the cache. */
  #store(placed: readonly Sequence[], staging: KvStaging, batch: StepBatch, outputs: OrtOutputs): void {
    const slots = placed.map(({ firstRow, numRows }) =>
      batch.slotMapping.subarray(firstRow, firstRow + numRows)
    );
    this.#graph.kvLayers.forEach((_, layer) => {
      const key = outputs.values(keyOutput(layer)), value = outputs.values(valueOutput(layer));
      placed.forEach(({ numRows }, place) => {
        this.#pages.write(layer, slots[place], key, value, place * numRows);
      });
    });
    placed.forEach(({ pastLength }, place) => staging.append(place, pastLength, slots[place]));
  }
}

/**
 * The mask is one for all layers, and so is the window.
 * @throws {TypeError} when layers differ
 */
function windowOf({ nodes }: Graph): number {
  const windows = new Set(nodes.flatMap((node) => node.op === "attention" ? [node.window ?? Infinity] : []));
  if (windows.size > 1) {
    throw new TypeError(
      `Cannot run graph: with --device onnx all layers must attend over one window, received ${[
        ...windows,
      ]}; take --device cpu or a GPU`,
    );
  }
  return [...windows][0] ?? Infinity;
}

function sequenceOf(batch: StepBatch, index: number): Sequence {
  const firstRow = batch.queryStart[index], numRows = batch.queryStart[index + 1] - firstRow;
  const pastLength = batch.contextLengths[index] - numRows;
  return { firstRow, numRows, pastLength, blockTable: batch.blockTables[index] };
}

/** The samples whose rows are among `rows`, with the row's place there. */
function samplesOf(batch: StepBatch, rows: readonly number[]): { index: number; row: number }[] {
  const places = new Map(rows.map((row, place) => [row, place]));
  return batch.samples.flatMap(({ row }, index) => {
    const place = places.get(row);
    return place === undefined ? [] : [{ index, row: place }];
  });
}

function stepInputs(
  placed: readonly Sequence[],
  stride: number,
  batch: StepBatch,
  rows: readonly number[],
  sampleRows: readonly number[],
  window: number,
): Record<string, OrtInput> {
  const numQueries = placed[0].numRows;
  const vector = (data: Int32Array | BigInt64Array) => ({ data, shape: [data.length] });
  return {
    [RUN_INPUT.tokenIds]: vector(Int32Array.from(rows, (row) => batch.tokenIds[row])),
    [RUN_INPUT.positions]: vector(Int32Array.from(rows, (row) => batch.positions[row])),
    [RUN_INPUT.sampleRows]: vector(Int32Array.from(sampleRows)),
    [RUN_INPUT.batchSize]: vector(BigInt64Array.of(BigInt(placed.length))),
    [RUN_INPUT.keyCounts]: vector(BigInt64Array.of(BigInt(stride), BigInt(numQueries))),
    [RUN_INPUT.mask]: {
      data: attentionMask(placed, stride, numQueries, window),
      shape: [placed.length, 1, numQueries, 1, stride + numQueries],
    },
  };
}

/**
 * [sequences, queries, stride + queries]: cached keys that the sequence has, then new ones up to the query's own, the last
 * `window` of them.
 */
function attentionMask(
  placed: readonly Sequence[],
  stride: number,
  numQueries: number,
  window: number,
): Float32Array {
  const width = stride + numQueries;
  const mask = new Float32Array(placed.length * numQueries * width);
  placed.forEach(({ pastLength }, place) => {
    for (let query = 0; query < numQueries; query++) {
      const start = (place * numQueries + query) * width;
      mask.fill(MASKED, start + pastLength, start + stride);
      mask.fill(MASKED, start + stride + query + 1, start + width);
      const unseen = Math.max(0, pastLength + query + 1 - window);
      mask.fill(MASKED, start, start + Math.min(unseen, pastLength));
      mask.fill(MASKED, start + stride, start + stride + Math.max(0, unseen - pastLength));
    }
  });
  return mask;
}

/**
 * Bytes of heap that the model needs; onnxruntime holds every weight twice for a moment at load, as stored and as
 * packed for its kernels.
 */
function requireRoom(program: OnnxProgram, source: TensorSource, stagingBytes: number): number {
  for (const { ref } of program.weights) requireTensor(source, ref);
  const bytes = weightBytes(program);
  const needed = 2 * bytes + stagingBytes + WORKING_BYTES;
  if (needed < MAX_HEAP_BYTES) return needed;
  const room = Math.max(0, Math.floor((MAX_HEAP_BYTES - stagingBytes - WORKING_BYTES) / 2));
  throw new RangeError(
    `Cannot load model: onnxruntime holds weights in f32 and has room for ${room} bytes of them, received ${bytes}; ` +
      "take a smaller model, --device cpu or a GPU",
  );
}

async function loadWeights(
  program: OnnxProgram,
  source: TensorSource,
  onProgress: OnnxPlanOptions["onProgress"],
): Promise<OrtFile[]> {
  const files: OrtFile[] = [], total = weightBytes(program);
  let done = 0;
  for (const { path, ref } of program.weights) {
    const values = await loadFloat32(source, ref);
    files.push({ path, data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) });
    done += values.byteLength;
    onProgress?.(done / total);
  }
  return files;
}

/** Bytes of all weights as f32. */
function weightBytes({ weights }: OnnxProgram): number {
  return weights.reduce((sum, { ref }) => sum + ref.shape.reduce((a, b) => a * b, 4), 0);
}
