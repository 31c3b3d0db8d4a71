// Compiles kernel calls: equal code once, all in parallel, with an error that shows the WGSL at fault.
import type { GpuDevice } from "../device/gpu_device.ts";
import type { Binding, Grid, KernelCall } from "./gpu_op.ts";

/** A kernel call ready to be encoded. */
export interface CompiledCall extends Pick<KernelCall, "label" | "work" | "grid"> {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
}

/** Adds the dispatch to the pass. Dimensions of one are left out: each number takes the binding of Dawn time. */
export function encodeCall(
  pass: GPUComputePassEncoder,
  { call, grid: [x, y, z] }: { readonly call: CompiledCall; readonly grid: Grid },
): void {
  pass.setPipeline(call.pipeline);
  pass.setBindGroup(0, call.bindGroup);
  if (z !== 1) pass.dispatchWorkgroups(x, y, z);
  else if (y !== 1) pass.dispatchWorkgroups(x, y);
  else pass.dispatchWorkgroups(x);
}

/** What calls that are compiled one after the other share. */
export class PipelineCache {
  readonly layouts = new Map<string, GPUBindGroupLayout>();
  readonly pipelines = new Map<string, Promise<GPUComputePipeline>>();
}

/** @throws {SyntaxError} with the compiler's message and the lines around it, when a kernel's WGSL is invalid. */
export async function compileCalls(
  gpu: GpuDevice,
  calls: readonly KernelCall[],
  { layouts, pipelines } = new PipelineCache(),
): Promise<CompiledCall[]> {
  const prepared = calls.map((call) => {
    const signature = call.bindings.map((binding) => binding.access).join();
    const layout = layouts.get(signature) ?? createLayout(gpu.device, call.bindings);
    layouts.set(signature, layout);
    const pipeline = pipelines.get(call.code) ?? compile(gpu, call, layout);
    pipelines.set(call.code, pipeline);
    return { call, layout, pipeline };
  });
  return await Promise.all(prepared.map(async ({ call, layout, pipeline }) => ({
    label: call.label,
    pipeline: await pipeline,
    bindGroup: gpu.device.createBindGroup({
      label: call.label,
      layout,
      entries: call.bindings.map(({ buffer }, binding) => ({ binding, resource: { buffer } })),
    }),
    grid: call.grid,
    ...(call.work && { work: call.work }),
  })));
}

const BUFFER_TYPES: Record<Binding["access"], GPUBufferBindingType> = {
  read: "read-only-storage",
  readWrite: "storage",
  uniform: "uniform",
};

function createLayout(device: GPUDevice, bindings: readonly Binding[]): GPUBindGroupLayout {
  return device.createBindGroupLayout({
    entries: bindings.map(({ access }, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: BUFFER_TYPES[access] },
    })),
  });
}

async function compile(
  gpu: GpuDevice,
  call: KernelCall,
  layout: GPUBindGroupLayout,
): Promise<GPUComputePipeline> {
  const { device } = gpu;
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ label: call.label, code: call.code });
  const error = await gpu.wait(device.popErrorScope(), 0);
  if (error) throw new SyntaxError(`Cannot compile kernel "${call.label}": ${error.message}`);
  const pipeline = device.createComputePipelineAsync({
    label: call.label,
    layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
    compute: { module, entryPoint: "main" },
  });
  return await gpu.wait(pipeline, 0);
}
