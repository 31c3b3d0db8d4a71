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

const FEATURES = ["shader-f16", "subgroups", "timestamp-query"] as const;

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
  const requiredFeatures = FEATURES.filter((feature) => adapter.features.has(feature)) as GPUFeatureName[];
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
    timestamps: device.features.has("timestamp-query"),
    maxBindingBytes: Math.min(device.limits.maxStorageBufferBindingSize, options.maxBindingBytes ?? Infinity),
    maxBufferBytes: device.limits.maxBufferSize,
    maxWorkgroupBytes: device.limits.maxComputeWorkgroupStorageSize,
    maxInvocations: device.limits.maxComputeInvocationsPerWorkgroup,
  };
}
