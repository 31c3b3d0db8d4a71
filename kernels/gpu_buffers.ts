// The buffers of a plan: activations assigned by lifetime, the paged KV cache, control, results and scratch. Weights
// live in gpu_weights.ts.
import { GpuStateCopier } from "./gpu_state_copy.ts";
import type { GpuDevice } from "../device/gpu_device.ts";
import { type ActivationSlot, assignActivationSlots } from "./activation_slots.ts";
import { GpuBlockCopier } from "./attention/gpu_block_copy.ts";
import { GpuHostBlocks } from "./attention/gpu_host_blocks.ts";
import { kvRowBytes, type KvType } from "./attention/kv_layout.ts";
import { historyRowBytes, historyType } from "./convolution_history/history_layout.ts";
import type { ControlLayout } from "./control.ts";
import { type GpuHistory, type GpuKvCache, type Halves, type PagedMatrices, rowStride } from "./gpu_op.ts";
import { GpuSetUps, type TableSetUp } from "./gpu_set_up.ts";
import type { OnlineShape } from "./convolution_history/online_sums.ts";
import type { Graph, HistoryLayer, StateLayer, Value } from "./graph.ts";
import { mostRows } from "./grid.ts";
import { halvesWords } from "./half_values.ts";
import { MOST_TILE_ROWS } from "./linear/matrix_form.ts";
import type { NormFusion } from "./norm_fusion.ts";
import { SCORE_WORDS } from "./sampling/scores.ts";
import { maskWords, MAX_MASKS } from "./sampling/token_mask.ts";
import { BLOCK_SIZE, requireRoomForStates, type StepLimits } from "./step.ts";

export class GpuBuffers implements Disposable {
  readonly control: GPUBuffer;
  /** u32 [maxSamples] */
  readonly tokens: GPUBuffer;
  /** [maxSamples][SCORE_WORDS] */
  readonly scores: GPUBuffer;
  /** u32 [MAX_MASKS, maskWords(vocabSize)] */
  readonly masks: GPUBuffer;
  readonly stateCopier: GpuStateCopier;
  readonly blockCopier: GpuBlockCopier;
  /** Where the limits have host memory. */
  readonly hostBlocks: GpuHostBlocks | undefined;
  /** Of computed tables. */
  readonly setUps: GpuSetUps;
  readonly #gpu: GpuDevice;
  readonly #owned: GPUBuffer[] = [];
  readonly #limits: StepLimits;
  readonly #activations: ReadonlyMap<number, GPUBuffer>;
  /** By the f32 buffer of the same slot, as far as they are asked for. */
  readonly #halves = new Map<GPUBuffer, Halves>();
  readonly #kvCaches: readonly GpuKvCache[];
  readonly #histories: readonly GpuHistory[];
  /** Empty where sums are made directly. */
  readonly #onlineSums: readonly (GPUBuffer | undefined)[];
  readonly #recurrentStates: readonly GPUBuffer[];
  readonly #scratch = new Map<string, GPUBuffer>();
  readonly #tables = new Map<string, GPUBuffer>();

  /** @throws {RangeError} when one layer's cache, or its history, is larger than the adapter can bind. */
  constructor(
    gpu: GpuDevice,
    graph: Graph,
    layout: ControlLayout,
    kvType: KvType,
    fusion: NormFusion,
    readonly online?: OnlineShape,
  ) {
    this.#gpu = gpu;
    this.setUps = new GpuSetUps(gpu);
    const { maxSamples } = this.#limits = layout.limits;
    this.control = this.#create("control", layout.words * 4, GPUBufferUsage.COPY_DST);
    this.tokens = this.#create("tokens", maxSamples * 4, GPUBufferUsage.COPY_SRC);
    this.scores = this.#create("scores", maxSamples * SCORE_WORDS * 4, GPUBufferUsage.COPY_SRC);
    this.masks = this.#create(
      "masks",
      MAX_MASKS * maskWords(graph.output.width) * 4,
      GPUBufferUsage.COPY_DST,
    );
    this.#activations = this.#assignActivations(graph, fusion);
    this.#kvCaches = graph.kvLayers.map((layer, i) => {
      const rowBytes = kvRowBytes(layer, kvType);
      return {
        type: kvType,
        key: this.#createPaged(`key[${i}]`, rowBytes),
        value: this.#createPaged(`value[${i}]`, rowBytes),
      };
    });
    this.#histories = graph.historyLayers.map((layer, i) => ({
      type: historyType(kvType),
      buffer: this.#createPaged(`history[${i}]`, historyRowBytes(layer, kvType)),
    }));
    this.#onlineSums = graph.historyLayers.map((layer, i) => this.#createOnlineSums(layer, i));
    this.#recurrentStates = graph.stateLayers.map((layer, i) => this.#createState(layer, i));
    this.stateCopier = new GpuStateCopier(gpu.device, graph.stateLayers, this.#recurrentStates);
    const paged: PagedMatrices[] = [
      ...this.#kvCaches.map(({ key, value }, i) => ({
        buffers: [key, value] as const,
        rowBytes: kvRowBytes(graph.kvLayers[i], kvType),
      })),
      ...this.#histories.map(({ buffer }, i) => ({
        buffers: [buffer] as const,
        rowBytes: historyRowBytes(graph.historyLayers[i], kvType),
      })),
    ];
    this.blockCopier = new GpuBlockCopier(gpu.device, paged);
    const { numHostBlocks = 0 } = layout.limits;
    this.hostBlocks = numHostBlocks > 0 ? new GpuHostBlocks(gpu, paged, numHostBlocks) : undefined;
  }

  activation(value: Value): GPUBuffer {
    return this.#activations.get(value.id)!;
  }

  /** Shared like the value's own buffer, between values of equal shape. */
  halves(value: Value): Halves {
    const slot = this.activation(value), existing = this.#halves.get(slot);
    if (existing) return existing;
    const words = halvesWords(value.width);
    const rows = Math.ceil(mostRows(value.rows, this.#limits) / MOST_TILE_ROWS) * MOST_TILE_ROWS;
    const halves = {
      buffer: this.#create(`${value.rows} x ${value.width} halves`, rows * words * 16),
      words,
    };
    this.#halves.set(slot, halves);
    return halves;
  }

  kvCache(layer: number): GpuKvCache {
    return this.#kvCaches[layer];
  }

  history(layer: number): GpuHistory {
    return this.#histories[layer];
  }

  onlineSums(layer: number): GPUBuffer {
    return this.#onlineSums[layer]!;
  }

  recurrentState(layer: number): GPUBuffer {
    return this.#recurrentStates[layer];
  }

  table(name: string, values: () => Float32Array): GPUBuffer {
    const existing = this.#tables.get(name);
    if (existing) return existing;
    const made = values();
    const buffer = this.#gpu.device.createBuffer({
      label: name,
      size: made.byteLength,
      usage: GPUBufferUsage.STORAGE,
      mappedAtCreation: true,
    });
    this.#owned.push(buffer);
    new Float32Array(buffer.getMappedRange()).set(made);
    buffer.unmap();
    this.#tables.set(name, buffer);
    return buffer;
  }

  computedTable(name: string, bytes: number, setUp: TableSetUp): GPUBuffer {
    const existing = this.#tables.get(name);
    if (existing) return existing;
    const table = this.#create(name, bytes);
    this.#tables.set(name, table);
    this.setUps.note(name, table, setUp);
    return table;
  }

  scratch(name: string, bytes: number): GPUBuffer {
    const existing = this.#scratch.get(name);
    if (existing && existing.size >= bytes) return existing;
    const buffer = this.#create(name, bytes);
    this.#scratch.set(name, buffer);
    return buffer;
  }

  uniform(words: ArrayLike<number>): GPUBuffer {
    const bytes = Math.ceil(words.length / 4) * 16;
    const buffer = this.#gpu.device.createBuffer({
      label: "uniform",
      size: bytes,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    this.#owned.push(buffer);
    this.#gpu.device.queue.writeBuffer(buffer, 0, Uint32Array.from(words));
    return buffer;
  }

  [Symbol.dispose](): void {
    this.hostBlocks?.[Symbol.dispose]();
    this.blockCopier[Symbol.dispose]();
    this.stateCopier[Symbol.dispose]();
    for (const buffer of this.#owned) buffer.destroy();
  }

  #assignActivations(graph: Graph, fusion: NormFusion): Map<number, GPUBuffer> {
    const buffers = new Map<ActivationSlot, GPUBuffer>();
    const assigned = new Map<number, GPUBuffer>();
    for (const [id, slot] of assignActivationSlots(graph, fusion)) {
      const buffer = buffers.get(slot) ?? this.#createActivation(slot);
      buffers.set(slot, buffer);
      assigned.set(id, buffer);
    }
    return assigned;
  }

  #createActivation({ rows: kind, width }: ActivationSlot): GPUBuffer {
    const rows = mostRows(kind, this.#limits);
    const bytes = rows * rowStride(width) * 4;
    if (bytes > this.#gpu.caps.maxBindingBytes) {
      throw new RangeError(
        `Cannot load model: ${rows} rows of ${width} take ${bytes} bytes, more than this adapter can bind (${this.#gpu.caps.maxBindingBytes}); lower --max-batch-tokens`,
      );
    }
    const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    return this.#create(`${kind} x ${width}`, bytes, usage);
  }

  /** A row for every token of every block. */
  #createPaged(label: string, rowBytes: number): GPUBuffer {
    const bytes = this.#limits.numBlocks * BLOCK_SIZE * rowBytes;
    if (bytes > this.#gpu.caps.maxBindingBytes) {
      throw new RangeError(
        `Cannot load model: a layer's KV cache of ${bytes} bytes is more than this adapter can bind (${this.#gpu.caps.maxBindingBytes}); lower --kv-memory`,
      );
    }
    return this.#create(label, bytes, GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST);
  }

  #createOnlineSums({ width }: HistoryLayer, index: number): GPUBuffer | undefined {
    if (!this.online) return undefined;
    const bytes = this.#limits.maxSequences * this.online.window * width * 4;
    if (bytes > this.#gpu.caps.maxBindingBytes) {
      throw new RangeError(
        `Cannot load model: a layer's sums of ${bytes} bytes are more than this adapter can bind (${this.#gpu.caps.maxBindingBytes}); serve fewer sequences at once`,
      );
    }
    return this.#create(`online[${index}]`, bytes);
  }

  #createState({ floats }: StateLayer, index: number): GPUBuffer {
    const bytes = requireRoomForStates(this.#limits.numStateSlots ?? 0) * floats * 4;
    if (bytes > this.#gpu.caps.maxBindingBytes) {
      throw new RangeError(
        `Cannot load model: a layer's recurrent states of ${bytes} bytes are more than this adapter can bind (${this.#gpu.caps.maxBindingBytes}); serve fewer sequences at once`,
      );
    }
    return this.#create(`state[${index}]`, bytes, GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST);
  }

  #create(label: string, bytes: number, usage = 0): GPUBuffer {
    const buffer = this.#gpu.device.createBuffer({
      label,
      size: Math.max(16, Math.ceil(bytes / 4) * 4),
      usage: GPUBufferUsage.STORAGE | usage,
    });
    this.#owned.push(buffer);
    return buffer;
  }
}
