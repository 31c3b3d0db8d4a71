// A GPU that computes nothing, on any machine and without a driver: Dawn's null backend, whose compiler and validation
// are the real ones. It says whether kernels for a GPU that is not there are valid WGSL.
import type { GpuCaps, Profile } from "./caps.ts";
import { loadDawn } from "./dawn.ts";
import { GpuDevice } from "./gpu_device.ts";

export interface NullGpu {
  /** Good for making plans, not for running them: pipelines and bind groups are empty. */
  readonly gpu: GpuDevice;
  /** All modules made so far, valid or not. */
  readonly modules: readonly GPUShaderModuleDescriptor[];
}

const IDLE_PASS = { setPipeline() {}, setBindGroup() {}, dispatchWorkgroups() {}, end() {} };

/**
 * @param caps what the device is said to offer; kernels are written for these
 * @throws {Error} when Dawn cannot be loaded, saying why
 */
export async function openNullGpu(caps: GpuCaps, profile: Profile): Promise<NullGpu> {
  const { gpu, pacer } = await loadDawn(profile, "null");
  const adapter = (await gpu.requestAdapter())!;
  const device = await adapter.requestDevice({ requiredFeatures: [...adapter.features] as GPUFeatureName[] });
  const modules: GPUShaderModuleDescriptor[] = [];
  const createShaderModule = device.createShaderModule.bind(device);
  // The backend's limits are below those of any GPU that kernels are written for and cannot be raised (8 storage buffers a
  // stage, 16 KB of workgroup memory), so nothing is made that they apply to.
  const nothing = { value: () => ({}) };
  const createCommandEncoder = device.createCommandEncoder.bind(device);
  Object.defineProperties(device, {
    createShaderModule: {
      value(descriptor: GPUShaderModuleDescriptor): GPUShaderModule {
        modules.push(descriptor);
        return createShaderModule(descriptor);
      },
    },
    createBindGroupLayout: nothing,
    createPipelineLayout: nothing,
    createBindGroup: nothing,
    createComputePipelineAsync: { value: () => Promise.resolve({}) },
    // What a plan computes when it is made is dropped, since it has nothing to run.
    createCommandEncoder: {
      value: (descriptor?: GPUCommandEncoderDescriptor) =>
        Object.defineProperty(createCommandEncoder(descriptor), "beginComputePass", {
          value: () => IDLE_PASS,
        }),
    },
  });
  return { gpu: new GpuDevice(device, caps, profile, pacer), modules };
}
