// Times the calls of the WebGPU addon that a step is encoded by.
import { loadDawn } from "../../device/dawn.ts";

/** Storage buffers of a kernel: the fewest, a product's, the most. */
export const BUFFERS = [2, 5, 8];

export interface EncodeOptions {
  readonly buffers: number;
  /** Whether a GPU gets the dispatches, not Dawn's null backend. */
  readonly onGpu: boolean;
  /** Dawn's, separated by commas. */
  readonly toggles: string;
  readonly dispatches: number;
}

/** Microseconds for each dispatch of a step: of one kind of call by itself, of all three, and of what comes after. */
export interface EncodeCost {
  readonly setPipeline: number;
  readonly setBindGroup: number;
  readonly dispatch: number;
  readonly encode: number;
  readonly finish: number;
  readonly submit: number;
}

const ROUNDS = 60;

export interface Call {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
}

/** Encodes all of them into a pass. */
export function encodeAll(pass: GPUComputePassEncoder, calls: readonly Call[]): void {
  for (const { pipeline, bindGroup } of calls) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(3);
  }
}

/** @throws {Error} where Dawn finds no GPU to send them to */
export async function prepareCalls({ buffers, onGpu, toggles, dispatches }: EncodeOptions) {
  const { gpu } = await loadDawn("fast", onGpu ? undefined : "null", toggles);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error("Dawn finds no GPU: deno task doctor says what is missing");
  const device = await adapter.requestDevice();
  return { device, calls: makeCalls(device, buffers, dispatches) };
}

export async function encodeCosts(options: EncodeOptions): Promise<EncodeCost> {
  const { device, calls } = await prepareCalls(options), { dispatches } = options;
  const best: Record<string, number> = {};
  const time = (name: keyof EncodeCost, work: () => void) => {
    const started = performance.now();
    work();
    const us = (performance.now() - started) / dispatches * 1000;
    best[name] = Math.min(best[name] ?? Infinity, us);
  };
  for (let round = 0; round < ROUNDS; round++) {
    const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
    time("encode", () => encodeAll(pass, calls));
    pass.end();
    let commands: GPUCommandBuffer;
    time("finish", () => commands = encoder.finish());
    time("submit", () => device.queue.submit([commands]));
    timeEach(device, calls, time);
  }
  return best as unknown as EncodeCost;
}

function timeEach(
  device: GPUDevice,
  calls: readonly Call[],
  time: (name: keyof EncodeCost, work: () => void) => void,
): void {
  const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
  time("setPipeline", () => calls.forEach(({ pipeline }) => pass.setPipeline(pipeline)));
  time("setBindGroup", () => calls.forEach(({ bindGroup }) => pass.setBindGroup(0, bindGroup)));
  time("dispatch", () => calls.forEach(() => pass.dispatchWorkgroups(3)));
  pass.end();
  encoder.finish();
}

/** Pipelines and bind groups all different, as a step's are. */
function makeCalls(device: GPUDevice, buffers: number, count: number): Call[] {
  const access = (i: number) => i === buffers - 1 ? "read_write" : "read";
  const numbers = Array.from({ length: buffers }, (_, i) => i);
  const code = `${
    numbers.map((i) => `@group(0) @binding(${i}) var<storage, ${access(i)}> b${i}: array<u32>;`).join("\n")
  }
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    b${buffers - 1}[id.x] = ${numbers.map((i) => `b${i}[id.x]`).join(" + ")};
}`;
  const module = device.createShaderModule({ code });
  const layout = device.createBindGroupLayout({
    entries: numbers.map((binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: access(binding) === "read" ? "read-only-storage" : "storage" },
    })),
  });
  return Array.from({ length: count }, () => ({
    pipeline: device.createComputePipeline({
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main" },
    }),
    bindGroup: device.createBindGroup({
      layout,
      entries: numbers.map((binding) => ({
        binding,
        resource: { buffer: device.createBuffer({ size: 4096, usage: GPUBufferUsage.STORAGE }) },
      })),
    }),
  }));
}
