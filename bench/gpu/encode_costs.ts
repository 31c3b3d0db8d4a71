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

interface Call {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
}

/** What the host does at one time, each on average over an interval. */
export interface HostSpeed {
  /** Microseconds that a dispatch takes: encoded, finished and submitted. */
  readonly dispatch: number;
  /** Nanoseconds of a turn of a loop that needs the core alone. */
  readonly arithmetic: number;
  /** Nanoseconds of a read that waits for memory. */
  readonly memory: number;
}

export const INTERVAL_MS = 500;
/** Of the two loops, in an interval's rounds; the bytes that the second one's reads are spread over. */
const TURNS = 100_000, READS = 10_000, CHAIN_BYTES = 32 * 2 ** 20;

/** The host's speed, interval after interval. */
export async function* hostSpeeds(options: EncodeOptions): AsyncGenerator<HostSpeed, never> {
  const { device, calls } = await prepare(options);
  const chain = makeChain(CHAIN_BYTES / Uint32Array.BYTES_PER_ELEMENT);
  let result = 0;
  while (true) {
    const spent = { dispatch: 0, arithmetic: 0, memory: 0 };
    const time = (name: keyof HostSpeed, work: () => void) => {
      const started = performance.now();
      work();
      spent[name] += performance.now() - started;
    };
    let rounds = 0;
    for (const started = performance.now(); performance.now() - started < INTERVAL_MS; rounds++) {
      time("dispatch", () => submitAll(device, calls));
      time("arithmetic", () => result = arithmetic(result));
      time("memory", () => result = follow(chain, result >>> 8));
      await device.queue.onSubmittedWorkDone();
    }
    yield {
      dispatch: spent.dispatch * 1e3 / (rounds * calls.length),
      arithmetic: spent.arithmetic * 1e6 / (rounds * TURNS),
      memory: spent.memory * 1e6 / (rounds * READS),
    };
  }
}

function arithmetic(number: number): number {
  for (let turn = 0; turn < TURNS; turn++) number = Math.imul(number, 1664525) + 1013904223 | 0;
  return number;
}

function follow(chain: Uint32Array, place: number): number {
  for (let read = 0; read < READS; read++) place = chain[place];
  return place;
}

/** Places in one random cycle through all of them (Sattolo's). */
function makeChain(length: number): Uint32Array {
  const chain = new Uint32Array(length);
  for (let i = 0; i < length; i++) chain[i] = i;
  for (let last = length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * last), place = chain[last];
    chain[last] = chain[other];
    chain[other] = place;
  }
  return chain;
}

function submitAll(device: GPUDevice, calls: readonly Call[]): void {
  const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
  encodeAll(pass, calls);
  pass.end();
  device.queue.submit([encoder.finish()]);
}

function encodeAll(pass: GPUComputePassEncoder, calls: readonly Call[]): void {
  for (const { pipeline, bindGroup } of calls) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(3);
  }
}

async function prepare({ buffers, onGpu, toggles, dispatches }: EncodeOptions) {
  const { gpu } = await loadDawn("fast", onGpu ? undefined : "null", toggles);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error("Dawn finds no GPU");
  const device = await adapter.requestDevice();
  return { device, calls: makeCalls(device, buffers, dispatches) };
}

export async function encodeCosts(options: EncodeOptions): Promise<EncodeCost> {
  const { device, calls } = await prepare(options), { dispatches } = options;
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
