// Runs a model's graph on the CPU: the CPU side of `ModelRunner`, by our own WebAssembly kernels or by onnxruntime-web,
// with sampling on the host.
import { kvBlockBytes } from "../kernels/attention/cpu.ts";
import { kvBytesPerToken } from "../kernels/attention/onnx_kv_cache.ts";
import { historyBlockBytes } from "../kernels/convolution_history/cpu.ts";
import { CpuPlan } from "../kernels/cpu_plan.ts";
import type { OnlineShapeWanted } from "../kernels/convolution_history/online_sums.ts";
import type { Graph } from "../kernels/graph.ts";
import type { HostPlan } from "../kernels/host_plan.ts";
import { sampleLogits } from "../kernels/sampling/sample_cpu.ts";
import {
  BLOCK_SIZE,
  type StepBatch,
  type StepLimits,
  type StepResult,
  type TokenScore,
} from "../kernels/step.ts";
import type { TensorSource } from "../kernels/tensor_source.ts";
import { chooseOnline, type LongConvolutionForm, longConvolutionsOf, onlineBytes } from "./online_choice.ts";
import type { LongConvolutions, ModelRunner } from "./runner.ts";
import { leastBytes, type ModelSizes, type RunnerSizes, stateBytesOf, stepLimits } from "./step_limits.ts";

export interface CpuRunnerOptions extends RunnerSizes {
  /** Who computes: our kernels (int8 weights stay int8), or onnxruntime-web (all weights in f32). */
  readonly runtime: "kernels" | "onnx";
  readonly contextLength: number;
  /** Token ids that are never generated. */
  readonly suppressed: readonly number[];
  /** How our kernels sum what earlier tokens add to long convolutions; undefined: as online_choice.ts has it. */
  readonly longConvolutions?: LongConvolutionForm;
  /** Threads that compute, the calling one included. */
  readonly numThreads: number;
  /** Called with the share of the weights that is read, 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
}

/** Bytes of onnxruntime's memory for the caches of the sequences that run at once, beyond one of full length. */
const STAGING_BYTES = 2 ** 30;

export class CpuRunner implements ModelRunner {
  readonly limits: StepLimits;
  readonly kvBytesPerBlock: number;
  readonly stateBytes: number;
  readonly longConvolutions?: LongConvolutions;
  readonly stepsInFlight = 1;
  /** A CPU is not lost. */
  readonly lost: Promise<string> = new Promise(() => {});
  readonly #plan: HostPlan;
  readonly #vocabSize: number;
  readonly #suppressed: ReadonlySet<number>;

  private constructor(
    plan: HostPlan,
    graph: Graph,
    limits: StepLimits,
    { kvBytesPerBlock, stateBytes }: ModelSizes,
    suppressed: readonly number[],
    longConvolutions: LongConvolutions | undefined,
  ) {
    this.#plan = plan;
    this.#vocabSize = graph.output.width;
    this.#suppressed = new Set(suppressed);
    this.limits = limits;
    this.kvBytesPerBlock = kvBytesPerBlock;
    this.stateBytes = stateBytes;
    if (longConvolutions) this.longConvolutions = longConvolutions;
  }

  /**
   * Loads the weights.
   * @throws {TypeError} naming a tensor that the source lacks or has in another shape
   * @throws {RangeError} when the model, or one sequence of full length, does not fit into memory
   */
  static async create(graph: Graph, source: TensorSource, options: CpuRunnerOptions): Promise<CpuRunner> {
    const model = {
      contextLength: options.contextLength,
      kvBytesPerBlock: bytesPerBlock(graph, options.runtime),
      stateBytes: stateBytesOf(graph),
    };
    const online = options.runtime === "kernels"
      ? chooseOnline(
        graph,
        { ...options, leastBytes: leastBytes(options, model) },
        options.longConvolutions,
      )
      : undefined;
    const kvBytes = options.kvBytes - (online ? onlineBytes(graph, online, options.maxSequences) : 0);
    const limits = stepLimits({ ...options, kvBytes }, model);
    const plan = options.runtime === "kernels"
      ? await createCpuPlan(graph, source, limits, options, online)
      : await createOnnxPlan(graph, source, limits, options);
    return new CpuRunner(plan, graph, limits, model, options.suppressed, longConvolutionsOf(graph, online));
  }

  async step(batch: StepBatch): Promise<StepResult> {
    const { samples, readLogits } = batch;
    const tokenIds = new Uint32Array(samples.length);
    const scores = new Array<TokenScore | undefined>(samples.length).fill(undefined);
    const logits = readLogits ? new Float32Array(samples.length * this.#vocabSize) : undefined;
    await this.#plan.step(batch, (index, row) => {
      logits?.set(row, index * this.#vocabSize);
      const { id, score } = sampleLogits(row, samples[index], this.#suppressed);
      tokenIds[index] = id;
      scores[index] = score;
    });
    return { tokenIds, scores, ...(logits && { logits }) };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#plan[Symbol.dispose]();
    return Promise.resolve();
  }
}

function bytesPerBlock({ kvLayers, historyLayers }: Graph, runtime: CpuRunnerOptions["runtime"]): number {
  if (runtime === "onnx") return kvBytesPerToken(kvLayers) * BLOCK_SIZE;
  const histories = historyLayers.reduce((sum, layer) => sum + historyBlockBytes(layer), 0);
  return kvLayers.map(kvBlockBytes).reduce((sum, { keys, values }) => sum + keys + values, histories);
}

function createCpuPlan(
  graph: Graph,
  source: TensorSource,
  limits: StepLimits,
  { numThreads, onProgress }: CpuRunnerOptions,
  online: OnlineShapeWanted | undefined,
): Promise<HostPlan> {
  return CpuPlan.create(graph, source, {
    limits,
    numThreads,
    ...(onProgress && { onProgress }),
    ...(online && { online: { window: online.window, square: online.square } }),
  });
}

async function createOnnxPlan(
  graph: Graph,
  source: TensorSource,
  limits: StepLimits,
  { contextLength, numThreads, onProgress }: CpuRunnerOptions,
): Promise<HostPlan> {
  // Only those who ask for onnxruntime load what it takes.
  const { OnnxPlan } = await import("../kernels/onnx_plan.ts");
  const sequenceBytes = kvBytesPerToken(graph.kvLayers) * contextLength;
  return await OnnxPlan.create(graph, source, {
    threads: numThreads,
    numBlocks: limits.numBlocks,
    stagingBytes: Math.max(sequenceBytes, Math.min(STAGING_BYTES, sequenceBytes * limits.maxSequences)),
    ...(onProgress && { onProgress }),
  });
}
