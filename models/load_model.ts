// From a model folder to a runner: opens the checkpoint, chooses the backend and builds the runner for it. The one
// place that knows both backends.
import { chooseBackend } from "../device/choose_backend.ts";
import type { Profile } from "../device/caps.ts";
import type { GpuDevice } from "../device/gpu_device.ts";
import type { Graph } from "../kernels/graph.ts";
import type { TensorSource } from "../kernels/tensor_source.ts";
import { type Checkpoint, openCheckpoint } from "./checkpoint.ts";
import { CpuRunner } from "./cpu_runner.ts";
import { GpuRunner } from "./gpu_runner.ts";
import { isGgufPath, openGgufCheckpoint } from "./gguf/gguf_checkpoint.ts";
import { defaultHostBytes, requireHostBytes } from "./host_memory.ts";
import type { LoadedModel, LoadOptions, OnProgress } from "./loaded_model.ts";
import type { ModelRunner } from "./runner.ts";
import type { RunnerSizes } from "./step_limits.ts";

const GIB = 2 ** 30;

/** Defaults per backend; a GPU's step is bound by reading weights until some hundred rows, a CPU's by arithmetic. */
export const DEFAULT_SIZES: Record<"gpu" | "cpu", RunnerSizes> = {
  gpu: { kvBytes: 2 * GIB, maxBatchTokens: 2048, maxSequences: 64 },
  cpu: { kvBytes: GIB / 2, maxBatchTokens: 256, maxSequences: 16 },
};

/**
 * Loads a model onto the device that the options choose.
 * @throws {Error} saying what is wrong with the folder, the device or the options; nothing stays open then.
 */
export async function loadModel(
  options: LoadOptions,
  onProgress: OnProgress = () => {},
): Promise<LoadedModel> {
  using checkpoint = await openModel(options.modelDir);
  const gpu = await chooseBackend(options.device, {
    profile: options.profile ?? "fast",
    ...(options.maxBindingBytes !== undefined && { maxBindingBytes: options.maxBindingBytes }),
  });
  const runner = gpu === "cpu"
    ? await createCpuRunner(checkpoint, options, onProgress)
    : await createGpuRunner(gpu, checkpoint, options, onProgress);
  const { network, tokenizer } = checkpoint;
  return {
    runner,
    architecture: checkpoint.architecture,
    fileFormat: checkpoint.fileFormat,
    contextLength: network.contextLength,
    vocabSize: network.vocabSize,
    width: network.width,
    numParameters: checkpoint.numParameters,
    weightBytes: checkpoint.weightBytes,
    backend: gpu === "cpu" ? "cpu" : gpu.caps.provider,
    adapter: gpu === "cpu" ? cpuName(options) : gpu.caps.adapter,
    eosTokenId: checkpoint.eosTokenId,
    suppressedTokens: checkpoint.suppressedTokens,
    ...(checkpoint.healsInfills !== undefined && { healsInfills: checkpoint.healsInfills }),
    tokenizer,
  };
}

/** A model folder, or a GGUF file. */
export async function openModel(model: string): Promise<Checkpoint> {
  return isGgufPath(model) ? await openGgufCheckpoint(model) : await openCheckpoint(model);
}

async function createGpuRunner(
  gpu: GpuDevice,
  { network, tensors, suppressedTokens }: Checkpoint,
  options: LoadOptions,
  onProgress: OnProgress,
): Promise<ModelRunner> {
  return await GpuRunner.create(gpu, network.graph, tensors, {
    ...sizes("gpu", options),
    ...hostSizes(gpu, network.graph, options),
    contextLength: network.contextLength,
    suppressed: suppressedTokens,
    kvType: options.kvType ?? naturalKvType(network.graph, tensors, gpu.profile, options.storage),
    ...(options.storage && { storage: options.storage }),
    ...(options.longConvolutions && { longConvolutions: options.longConvolutions }),
    onProgress: (done, total) => onProgress(done / total),
  });
}

async function createCpuRunner(
  { network, tensors, suppressedTokens }: Checkpoint,
  options: LoadOptions,
  onProgress: OnProgress,
): Promise<ModelRunner> {
  if (options.hostBytes) {
    throw new RangeError(
      "Cannot load model: --host-cache-memory is for GPUs; on the CPU --kv-memory is host memory already, raise that",
    );
  }
  return await CpuRunner.create(network.graph, tensors, {
    ...sizes("cpu", options),
    runtime: options.device === "onnx" ? "onnx" : "kernels",
    contextLength: network.contextLength,
    suppressed: suppressedTokens,
    numThreads: cpuThreads(options),
    ...(options.longConvolutions && { longConvolutions: options.longConvolutions }),
    onProgress,
  });
}

function sizes(backend: "gpu" | "cpu", options: LoadOptions): RunnerSizes {
  const defaults = DEFAULT_SIZES[backend];
  return {
    kvBytes: options.kvBytes ?? defaults.kvBytes,
    maxBatchTokens: options.maxBatchTokens ?? defaults.maxBatchTokens,
    maxSequences: options.maxSequences ?? defaults.maxSequences,
  };
}

/** A size that was given is taken at its word. Software that plays a GPU has its device memory in host memory. */
function hostSizes({ caps }: GpuDevice, { kvLayers, historyLayers }: Graph, { hostBytes }: LoadOptions) {
  if (kvLayers.length + historyLayers.length === 0) {
    if (!hostBytes) return {};
    throw new RangeError(
      "Cannot load model: --host-cache-memory is for blocks of the KV cache, and this model's layers keep states alone; leave it out",
    );
  }
  if (hostBytes !== undefined) return { hostBytes: requireHostBytes(hostBytes) };
  return caps.software ? {} : { hostBytes: defaultHostBytes(), measureParking: true };
}

/**
 * f16 where the weights themselves are no finer. Quantised weights came from finer ones and are scaled in f32: for them
 * f16 in the fast profile alone, where attention then reads half as much, and on matrix units; histories of convolutions,
 * which add up thousands of rows, stay f32.
 */
function naturalKvType(
  graph: Graph,
  tensors: TensorSource,
  profile: Profile,
  storage: LoadOptions["storage"],
): "f32" | "f16" {
  if (storage) return storage;
  const linear = graph.nodes.find((node) => node.op === "linear");
  const dtype = linear && tensors.find(linear.weight.name)?.dtype;
  if (dtype === "F16" || dtype === "BF16") return "f16";
  const isQuantised = dtype === "I8" || dtype === "I4";
  return isQuantised && profile === "fast" && graph.historyLayers.length === 0 ? "f16" : "f32";
}

/** Up to sixteen threads were measured to help; more would mostly wait for each other. */
function cpuThreads({ numThreads }: LoadOptions): number {
  return numThreads ?? Math.min(16, navigator.hardwareConcurrency);
}

function cpuName(options: LoadOptions): string {
  const kernels = options.device === "onnx" ? "onnxruntime-web" : "WebAssembly kernels";
  return `${kernels}, ${cpuThreads(options)} threads`;
}
