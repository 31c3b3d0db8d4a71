// Opens a GPUDevice from either provider with every feature and limit the kernels can use. The providers' traps live
// here, in dawn.ts and in readback.ts, and nowhere else.
import type { GpuCaps, Profile } from "./caps.ts";
import { loadDawn } from "./dawn.ts";
import { GpuDevice } from "./gpu_device.ts";

export interface OpenGpuOptions {
  readonly profile: Profile;
  /** Treat bindings as limited to this many bytes (tests of sharded weights). */
  readonly maxBindingBytes?: number;
}

/** Dawn's own, behind its toggle allow_unsafe_apis. */
const MATRIX_FEATURE = "chromium-experimental-subgroup-matrix";

const FEATURES = ["shader-f16", "subgroups", "timestamp-query", MATRIX_FEATURE] as const;

const LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
] as const;

/**
 * Opens the provider's high-performance adapter; undefined when the machine has none.
 * @throws {Error} when the provider itself cannot be loaded, saying why.
 */
export async function openGpu(
  provider: "dawn" | "webgpu",
  options: OpenGpuOptions,
): Promise<GpuDevice | undefined> {
  const { gpu, pacer } = provider === "dawn"
    ? await loadDawn(options.profile)
    : { gpu: navigator.gpu, pacer: undefined };
  const adapter = await requestAdapter(gpu);
  if (!adapter) return undefined;
  const requiredFeatures = FEATURES.filter((feature) =>
    adapter.features.has(feature as GPUFeatureName)
  ) as GPUFeatureName[];
  const requiredLimits: Record<string, number> = {};
  for (const name of LIMITS) requiredLimits[name] = adapter.limits[name];
  const device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  return new GpuDevice(device, readCaps(provider, adapter, device, options), options.profile, pacer);
}

/** Dawn throws instead of returning null where it finds no Vulkan driver at all. */
async function requestAdapter(gpu: GPU): Promise<GPUAdapter | null> {
  try {
    return await gpu.requestAdapter({ powerPreference: "high-performance" });
  } catch {
    return null;
  }
}

function readCaps(
  provider: "dawn" | "webgpu",
  adapter: GPUAdapter,
  device: GPUDevice,
  options: OpenGpuOptions,
): GpuCaps {
  const info = adapter.info;
  const name = info.description || info.device || info.vendor || "unknown adapter";
  // Deno lists "subgroups" among its types, yet its WGSL parser rejects them: only Dawn may claim the feature.
  const subgroups = provider === "dawn" && device.features.has("subgroups" as GPUFeatureName);
  return {
    provider,
    adapter: provider === "dawn" && info.device ? `${info.device} (${name})` : name,
    software: info.isFallbackAdapter ||
      /llvmpipe|lavapipe|swiftshader|software/i.test(`${info.device} ${name}`),
    f16: device.features.has("shader-f16"),
    subgroups,
    subgroupMinSize: subgroups ? info.subgroupMinSize : 0,
    subgroupMaxSize: subgroups ? info.subgroupMaxSize : 0,
    ...(subgroups ? chooseFragments(device, info) : NO_FRAGMENTS),
    timestamps: device.features.has("timestamp-query"),
    maxBindingBytes: Math.min(device.limits.maxStorageBufferBindingSize, options.maxBindingBytes ?? Infinity),
    maxBufferBytes: device.limits.maxBufferSize,
    maxStorageBuffers: device.limits.maxStorageBuffersPerShaderStage,
    maxWorkgroupBytes: device.limits.maxComputeWorkgroupStorageSize,
    maxInvocations: device.limits.maxComputeInvocationsPerWorkgroup,
  };
}

/** What Dawn adds to GPUAdapterInfo with the feature. */
interface MatrixAdapterInfo extends GPUAdapterInfo {
  readonly subgroupMatrixConfigs?: Iterable<{
    readonly componentType: string;
    readonly resultComponentType: string;
    readonly M: number;
    readonly N: number;
    readonly K: number;
  }>;
}

type Fragments = Pick<GpuCaps, "matrixFragment" | "narrowFragment">;

const NO_FRAGMENTS: Fragments = { matrixFragment: undefined, narrowFragment: undefined };

function chooseFragments(device: GPUDevice, info: MatrixAdapterInfo): Fragments {
  const usable = ["shader-f16", MATRIX_FEATURE].every((name) => device.features.has(name as GPUFeatureName));
  if (!usable || info.subgroupMinSize !== info.subgroupMaxSize) return NO_FRAGMENTS;
  const fragments = [...info.subgroupMatrixConfigs ?? []]
    .filter((config) => config.componentType === "f16" && config.resultComponentType === "f32")
    .map(({ M, N, K }) => ({ m: M, n: N, k: K }));
  // Square ones: a fragment of keys is read across and along.
  const matrixFragment = fragments.filter(({ m, n, k }) => m === n && n === k).sort((a, b) => b.m - a.m)[0];
  const narrowFragment = fragments
    .filter(({ m, k }) => m === matrixFragment?.m && k === matrixFragment.k)
    .sort((a, b) => a.n - b.n)[0];
  return { matrixFragment, narrowFragment };
}
