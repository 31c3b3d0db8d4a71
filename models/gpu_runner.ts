// Runs a model's graph on a GPU: the WebGPU side of `ModelRunner`.
import type { GpuDevice } from "../device/gpu_device.ts";
import { kvRowBytes, type KvType } from "../kernels/attention/kv_layout.ts";
import { historyRowBytes } from "../kernels/convolution_history/history_layout.ts";
import type { Graph } from "../kernels/graph.ts";
import { GpuPlan } from "../kernels/gpu_plan.ts";
import { BLOCK_SIZE, type StepBatch, type StepLimits, type StepResult } from "../kernels/step.ts";
import type { StepProfile } from "../kernels/step_profile.ts";
import type { TensorSource } from "../kernels/tensor_source.ts";
import { measureParking, parkingPays } from "./parking_cost.ts";
import { chooseOnline, type LongConvolutionForm, longConvolutionsOf, onlineBytes } from "./online_choice.ts";
import type { LongConvolutions, ModelRunner } from "./runner.ts";
import { leastBytes, type ModelSizes, type RunnerSizes, stateBytesOf, stepLimits } from "./step_limits.ts";

export interface GpuRunnerOptions extends RunnerSizes {
  readonly contextLength: number;
  /** Token ids that are never generated. */
  readonly suppressed: readonly number[];
  readonly kvType: KvType;
  /** Use host memory only if moving a block is measured to be cheaper than computing it. */
  readonly measureParking?: boolean;
  /** How long convolutions sum what earlier tokens add; undefined: as online_choice.ts has it. */
  readonly longConvolutions?: LongConvolutionForm;
  /** Storage of float weights; as in the checkpoint when undefined. */
  readonly storage?: "f32" | "f16";
  readonly onProgress?: (done: number, total: number) => void;
}

/** Bytes of a block, all layers together, and how many blocks the GPU can bind of a layer. */
export function pagedSizes(
  { caps }: GpuDevice,
  graph: Graph,
  kvType: KvType,
): { readonly blockBytes: number; readonly maxBlocks: number } {
  const rowBytes = [
    ...graph.kvLayers.map((layer) => kvRowBytes(layer, kvType)).flatMap((bytes) => [bytes, bytes]),
    ...graph.historyLayers.map((layer) => historyRowBytes(layer, kvType)),
  ];
  return {
    blockBytes: BLOCK_SIZE * rowBytes.reduce((sum, bytes) => sum + bytes, 0),
    maxBlocks: Math.floor(caps.maxBindingBytes / (Math.max(...rowBytes, 1) * BLOCK_SIZE)),
  };
}

/** How many sequences' states the GPU can bind of a layer. */
function mostStateSlots({ caps }: GpuDevice, { stateLayers }: Graph): number {
  return Math.floor(caps.maxBindingBytes / Math.max(...stateLayers.map(({ floats }) => 4 * floats), 1));
}

export class GpuRunner implements ModelRunner {
  readonly limits: StepLimits;
  readonly kvBytesPerBlock: number;
  readonly stateBytes: number;
  readonly longConvolutions?: LongConvolutions;
  readonly #gpu: GpuDevice;
  readonly #plan: GpuPlan;

  private constructor(
    gpu: GpuDevice,
    plan: GpuPlan,
    limits: StepLimits,
    { kvBytesPerBlock, stateBytes }: ModelSizes,
    longConvolutions: LongConvolutions | undefined,
  ) {
    this.#gpu = gpu;
    this.#plan = plan;
    this.limits = limits;
    this.kvBytesPerBlock = kvBytesPerBlock;
    this.stateBytes = stateBytes;
    if (longConvolutions) this.longConvolutions = longConvolutions;
  }

  /** Takes over `gpu`: it is disposed of with the runner, and at once when creation fails. */
  static async create(
    gpu: GpuDevice,
    graph: Graph,
    source: TensorSource,
    options: GpuRunnerOptions,
  ): Promise<GpuRunner> {
    try {
      const { blockBytes: kvBytesPerBlock, maxBlocks } = pagedSizes(gpu, graph, options.kvType);
      const room = { maxBlocks, maxStateSlots: mostStateSlots(gpu, graph), keepsWithin: true };
      const model = {
        contextLength: options.contextLength,
        kvBytesPerBlock,
        stateBytes: stateBytesOf(graph),
      };
      const online = gpu.profile === "fast"
        ? chooseOnline(
          graph,
          { ...options, leastBytes: leastBytes(options, model), maxBindingBytes: gpu.caps.maxBindingBytes },
          options.longConvolutions,
        )
        : undefined;
      const kvBytes = options.kvBytes - (online ? onlineBytes(graph, online, options.maxSequences) : 0);
      const limits = stepLimits({ ...options, kvBytes }, model, room);
      const plan = await GpuPlan.create(gpu, graph, source, {
        limits,
        kvType: options.kvType,
        sampling: { suppressed: options.suppressed },
        ...(options.storage && { storage: options.storage }),
        ...(online && { online }),
        ...(options.onProgress && { onProgress: options.onProgress }),
      });
      const measured = options.measureParking && limits.numHostBlocks !== 0;
      const taken = measured ? await limitsThatPay(plan, limits) : limits;
      return new GpuRunner(gpu, plan, taken, model, longConvolutionsOf(graph, online));
    } catch (error) {
      gpu[Symbol.dispose]();
      throw error;
    }
  }

  get lost(): Promise<string> {
    return this.#gpu.lost;
  }

  get stepsInFlight(): number {
    return this.#plan.stepsInFlight;
  }

  async step(batch: StepBatch): Promise<StepResult> {
    return await this.#plan.step(batch);
  }

  /** @throws {TypeError} when the adapter has no timestamps */
  async profile(batch: StepBatch): Promise<StepProfile> {
    return await this.#plan.profile(batch);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#plan[Symbol.dispose]();
    this.#gpu[Symbol.dispose]();
    return Promise.resolve();
  }
}

/** The limits without host memory where it does not pay. */
async function limitsThatPay(plan: GpuPlan, limits: StepLimits): Promise<StepLimits> {
  if (parkingPays(await measureParking(plan, limits))) return limits;
  return { ...limits, numHostBlocks: 0 };
}
