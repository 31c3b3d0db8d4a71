// Runs a model's graph on the CPU: the onnxruntime side of `ModelRunner`, with sampling on the host.
import { kvBytesPerToken } from "../kernels/attention/cpu_kv_cache.ts";
import type { Graph } from "../kernels/graph.ts";
import { OnnxPlan } from "../kernels/onnx_plan.ts";
import { sampleLogits } from "../kernels/sampling/sample_cpu.ts";
import {
  BLOCK_SIZE,
  type StepBatch,
  type StepLimits,
  type StepResult,
  type TokenScore,
} from "../kernels/step.ts";
import type { TensorSource } from "../kernels/tensor_source.ts";
import type { ModelRunner } from "./runner.ts";
import { type RunnerSizes, stepLimits } from "./step_limits.ts";

export interface CpuRunnerOptions extends RunnerSizes {
  readonly contextLength: number;
  /** Token ids that are never generated. */
  readonly suppressed: readonly number[];
  /** Threads that compute, the calling one included; all cores when undefined. */
  readonly numThreads?: number;
  /** Called with the share of the weights that is read, 0 to 1. */
  readonly onProgress?: (fraction: number) => void;
}

/** Bytes of WebAssembly memory for the caches of the sequences that run at once, beyond one of full length. */
const STAGING_BYTES = 2 ** 30;

export class CpuRunner implements ModelRunner {
  readonly limits: StepLimits;
  readonly kvBytesPerBlock: number;
  /** A CPU is not lost. */
  readonly lost: Promise<string> = new Promise(() => {});
  readonly #plan: OnnxPlan;
  readonly #vocabSize: number;
  readonly #suppressed: ReadonlySet<number>;

  private constructor(plan: OnnxPlan, graph: Graph, limits: StepLimits, suppressed: readonly number[]) {
    this.#plan = plan;
    this.#vocabSize = graph.output.width;
    this.#suppressed = new Set(suppressed);
    this.limits = limits;
    this.kvBytesPerBlock = kvBytesPerToken(graph.kvLayers) * BLOCK_SIZE;
  }

  /**
   * Loads the weights as f32.
   * @throws {TypeError} naming a tensor that the source lacks or has in another shape
   * @throws {RangeError} when the model, or one sequence of full length, does not fit into memory
   */
  static async create(graph: Graph, source: TensorSource, options: CpuRunnerOptions): Promise<CpuRunner> {
    const { contextLength, onProgress } = options;
    const sequenceBytes = kvBytesPerToken(graph.kvLayers) * contextLength;
    const limits = stepLimits(options, {
      contextLength,
      kvBytesPerBlock: kvBytesPerToken(graph.kvLayers) * BLOCK_SIZE,
    });
    const plan = await OnnxPlan.create(graph, source, {
      threads: options.numThreads ?? navigator.hardwareConcurrency,
      numBlocks: limits.numBlocks,
      stagingBytes: Math.max(sequenceBytes, Math.min(STAGING_BYTES, sequenceBytes * limits.maxSequences)),
      ...(onProgress && { onProgress }),
    });
    return new CpuRunner(plan, graph, limits, options.suppressed);
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
