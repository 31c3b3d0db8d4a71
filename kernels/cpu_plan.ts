// Lowers a graph to a list of calls of our own WebAssembly kernels and replays it every step, on all threads: weights
// packed, memory laid out and calls written once. Knows no architecture, no request and no sampling.
import { CpuThreads } from "../device/cpu_threads.ts";
import { type ActivationSlot, assignActivationSlots } from "./activation_slots.ts";
import { kvBlockBytes, lowerAttention } from "./attention/cpu.ts";
import { historyBlockBytes, lowerConvolutionHistory } from "./convolution_history/cpu.ts";
import { type OnlineShape, OnlineSums } from "./convolution_history/online_sums.ts";
import { CpuArena } from "./cpu_arena.ts";
import {
  CALL_BYTES,
  CALLS,
  HEADER_BYTES,
  NUM_CALLS,
  NUM_THREADS,
  SCRATCH,
  SCRATCH_BYTES,
} from "./cpu_layout.ts";
import { loadCpuModule, productRatesOf } from "./cpu_module.ts";
import { type CpuActivation, type CpuCall, type CpuContext, type CpuKvCache, rowStride } from "./cpu_op.ts";
import { CpuStep } from "./cpu_step.ts";
import { CpuWeights } from "./cpu_weights.ts";
import { lowerDiagonalSsm } from "./diagonal_ssm/cpu.ts";
import { lowerEmbedding } from "./embedding/cpu.ts";
import { lowerGated } from "./gated/cpu.ts";
import { lowerGatherRows } from "./gather_rows/cpu.ts";
import type { Graph, GraphInputs, Node } from "./graph.ts";
import { weightsOf } from "./graph_weights.ts";
import type { HostPlan, OnRow } from "./host_plan.ts";
import { lowerLayerNorm } from "./layer_norm/cpu.ts";
import { lowerLinear } from "./linear/cpu.ts";
import { fasterInt8Form, type Int8Form } from "./linear/int8_form.ts";
import { lowerLongConvolution } from "./long_convolution/cpu.ts";
import { mostQueryLength } from "./long_convolution/sizes.ts";
import { lowerRotary } from "./rotary/cpu.ts";
import { lowerShortConvolution } from "./short_convolution/cpu.ts";
import {
  BLOCK_SIZE,
  type BlockCopy,
  requireKeptWithin,
  requireRoomForStates,
  requireStateSlots,
  type StateCopy,
  type StepBatch,
  type StepLimits,
} from "./step.ts";
import type { TensorSource } from "./tensor_source.ts";

export interface CpuPlanOptions {
  readonly limits: StepLimits;
  /** Threads that compute, the calling one included. */
  readonly numThreads: number;
  /** As of a plan for GPUs; no sum is transformed. */
  readonly online?: Pick<OnlineShape, "window" | "square">;
  /** How int8 linears are computed; undefined: as this machine does it faster. */
  readonly int8Form?: Int8Form;
  /** Called with the share of the weights that are loaded, 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
}

/** Values of a row that quantize_rows.wasm.ts writes at once. */
const LIMB_GROUP = 16;

export class CpuPlan implements HostPlan {
  readonly #graph: Graph;
  readonly #threads: CpuThreads;
  readonly #step: CpuStep;
  readonly #activations: ReadonlyMap<number, CpuActivation>;
  readonly #kvCaches: readonly CpuKvCache[];
  readonly #histories: readonly number[];
  /** Address of each state layer's states. */
  readonly #states: readonly number[];
  readonly #online: OnlineSums | undefined;

  private constructor(
    graph: Graph,
    threads: CpuThreads,
    step: CpuStep,
    activations: ReadonlyMap<number, CpuActivation>,
    kvCaches: readonly CpuKvCache[],
    histories: readonly number[],
    states: readonly number[],
    online: OnlineSums | undefined,
  ) {
    this.#graph = graph;
    this.#threads = threads;
    this.#step = step;
    this.#activations = activations;
    this.#kvCaches = kvCaches;
    this.#histories = histories;
    this.#states = states;
    this.#online = online;
  }

  /**
   * @throws {TypeError} naming a tensor that the source lacks or has in another shape
   * @throws {RangeError} when the model does not fit into WebAssembly's memory; nothing is loaded then
   */
  static async create(graph: Graph, source: TensorSource, options: CpuPlanOptions): Promise<CpuPlan> {
    const { limits, numThreads } = options;
    const module = await loadCpuModule();
    const arena = new CpuArena(HEADER_BYTES);
    const online = graph.historyLayers.length > 0 ? options.online : undefined;
    const step = new CpuStep(limits, arena, online);
    const weights = new CpuWeights(weightsOf(graph), source, arena);
    const activations = placeActivations(graph, limits, arena);
    const kvCaches = placeKvCaches(graph, limits, arena);
    const histories = graph.historyLayers.map((layer) =>
      arena.take(limits.numBlocks * historyBlockBytes(layer))
    );
    const sums = graph.historyLayers.map(({ width }) =>
      arena.take(online ? limits.maxSequences * online.window * width * 4 : 0)
    );
    const states = placeStates(graph, limits, arena);
    let scratchBytes = 0;
    const context: CpuContext = {
      int8Form: options.int8Form ?? fasterInt8Form(await productRatesOf(module)),
      matrix: (ref) => weights.matrix(ref),
      rows: (ref) => weights.rows(ref),
      activation: (value) => activations.get(value.id)!,
      limbs: placeLimbs(graph, limits, arena),
      kvCache: (layer) => kvCaches[layer],
      history: (layer) => histories[layer],
      online,
      onlineSums: (layer) => sums[layer],
      recurrentState: (layer) => states[layer],
      maxQueryLength: mostQueryLength(limits),
      scoreStride: limits.maxBlocksPerSequence * BLOCK_SIZE,
      needScratch: (bytes) => scratchBytes = Math.max(scratchBytes, Math.ceil(bytes / 64) * 64),
    };
    const calls = graph.nodes.flatMap((node) => lowerNode(node, context));
    const callsAddress = arena.take(calls.length * CALL_BYTES);
    const scratch = arena.take(scratchBytes * numThreads);
    arena.requireRoom();

    const threads = await CpuThreads.open(module, arena.bytes, numThreads);
    try {
      const { buffer } = threads.memory;
      await weights.load(buffer, options.onProgress ?? (() => {}));
      writeCalls(new Uint32Array(buffer), callsAddress, calls);
      step.attach(buffer, {
        [NUM_THREADS]: numThreads,
        [NUM_CALLS]: calls.length,
        [CALLS]: callsAddress,
        [SCRATCH]: scratch,
        [SCRATCH_BYTES]: scratchBytes,
      });
      const onlineSums = online && new OnlineSums(online, limits);
      return new CpuPlan(graph, threads, step, activations, kvCaches, histories, states, onlineSums);
    } catch (error) {
      threads[Symbol.dispose]();
      throw error;
    }
  }

  /** @throws {RangeError} when the batch exceeds the plan's limits; nothing is computed then */
  // deno-lint-ignore require-await -- the interface of all plans
  async step(batch: StepBatch, onRow: OnRow, inputs: GraphInputs = {}): Promise<void> {
    if (this.#graph.stateLayers.length > 0 || this.#online) requireStateSlots(batch);
    requireKeptWithin({}, batch); // Its kernels leave the state after a sequence's last row alone.
    try {
      this.#step.write(batch, this.#online?.before(batch));
    } catch (error) {
      this.#online?.forgetAll();
      throw error;
    }
    for (const copy of batch.copies ?? []) this.#copyBlock(copy);
    for (const copy of batch.stateCopies ?? []) this.#copyState(copy);
    this.#writeInputs(inputs);
    this.#threads.step();
    const { output } = this.#graph;
    const count = output.rows === "tokens" ? batch.tokenIds.length : batch.samples.length;
    for (let row = 0; row < count; row++) onRow(row, this.#row(output.id, row, output.width));
  }

  [Symbol.dispose](): void {
    this.#threads[Symbol.dispose]();
  }

  /** Whole blocks: rows beyond those asked for are never read before they are written. */
  #copyBlock({ from, to }: BlockCopy): void {
    const memory = new Uint8Array(this.#threads.memory.buffer);
    this.#graph.kvLayers.forEach((layer, i) => {
      const bytes = kvBlockBytes(layer), { keys, values } = this.#kvCaches[i];
      for (const [start, size] of [[keys, bytes.keys], [values, bytes.values]]) {
        memory.copyWithin(start + to * size, start + from * size, start + (from + 1) * size);
      }
    });
    this.#graph.historyLayers.forEach((layer, i) => {
      const size = historyBlockBytes(layer), start = this.#histories[i];
      memory.copyWithin(start + to * size, start + from * size, start + (from + 1) * size);
    });
  }

  #copyState({ from, to }: StateCopy): void {
    const memory = new Uint8Array(this.#threads.memory.buffer);
    this.#graph.stateLayers.forEach(({ floats }, i) => {
      const start = this.#states[i], bytes = floats * 4;
      memory.copyWithin(start + to * bytes, start + from * bytes, start + (from + 1) * bytes);
    });
  }

  #writeInputs(inputs: GraphInputs): void {
    for (const node of this.#graph.nodes) {
      if (node.op !== "input") continue;
      const values = inputs[node.name], { id, width } = node.output;
      if (!values) throw new TypeError(`Cannot run graph: input "${node.name}" is missing`);
      for (let row = 0; row * width < values.length; row++) {
        this.#row(id, row, width).set(values.subarray(row * width, (row + 1) * width));
      }
    }
  }

  #row(valueId: number, row: number, width: number): Float32Array {
    const { address, stride } = this.#activations.get(valueId)!;
    return new Float32Array(this.#threads.memory.buffer, address + row * stride * 4, width);
  }
}

function lowerNode(node: Node, context: CpuContext): CpuCall[] {
  switch (node.op) {
    case "input":
      return [];
    case "embedding":
      return lowerEmbedding(node, context);
    case "layerNorm":
      return lowerLayerNorm(node, context);
    case "linear":
      return lowerLinear(node, context);
    case "gated":
      return lowerGated(node, context);
    case "rotary":
      return lowerRotary(node, context);
    case "attention":
      return lowerAttention(node, context);
    case "gatherRows":
      return lowerGatherRows(node, context);
    case "longConvolution":
      return lowerLongConvolution(node, context);
    case "convolutionHistory":
      return lowerConvolutionHistory(node, context);
    case "shortConvolution":
      return lowerShortConvolution(node, context);
    case "diagonalSsm":
      return lowerDiagonalSsm(node, context);
  }
}

function placeActivations(graph: Graph, limits: StepLimits, arena: CpuArena): Map<number, CpuActivation> {
  const places = new Map<ActivationSlot, CpuActivation>();
  const activations = new Map<number, CpuActivation>();
  for (const [id, slot] of assignActivationSlots(graph)) {
    const stride = rowStride(slot.width);
    const rows = slot.rows === "tokens" ? limits.maxTokens : limits.maxSamples;
    const place = places.get(slot) ?? { address: arena.take(rows * stride * 4), stride };
    places.set(slot, place);
    activations.set(id, place);
  }
  return activations;
}

function placeLimbs(graph: Graph, limits: StepLimits, arena: CpuArena): CpuContext["limbs"] {
  const widths = graph.nodes.flatMap((node) => node.op === "linear" ? [node.input.width] : []);
  const strideOf = (width: number) => Math.ceil(width / LIMB_GROUP) * LIMB_GROUP * 3;
  const rows = Math.max(limits.maxTokens, limits.maxSamples);
  const address = arena.take(rows * strideOf(Math.max(0, ...widths)));
  const scales = arena.take(rows * 4);
  return (width) => ({ address, stride: strideOf(width), scales });
}

function placeKvCaches(graph: Graph, limits: StepLimits, arena: CpuArena): CpuKvCache[] {
  return graph.kvLayers.map((layer) => {
    const bytes = kvBlockBytes(layer);
    return {
      keys: arena.take(limits.numBlocks * bytes.keys),
      values: arena.take(limits.numBlocks * bytes.values),
    };
  });
}

function placeStates(graph: Graph, { numStateSlots = 0 }: StepLimits, arena: CpuArena): number[] {
  return graph.stateLayers.map(({ floats }) => arena.take(requireRoomForStates(numStateSlots) * floats * 4));
}

function writeCalls(words: Uint32Array, address: number, calls: readonly CpuCall[]): void {
  calls.forEach((call, i) => {
    for (const [field, value] of Object.entries(call)) {
      words[(address + i * CALL_BYTES + Number(field)) / 4] = value;
    }
  });
}
