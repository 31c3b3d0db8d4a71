// Gathers blocks of the KV cache in one buffer on the GPU, all layers of a block side by side, and scatters them again: a
// dispatch a layer for all blocks together, since a copy command for each block and layer would cost more than computing
// them anew. Knows nothing of the host.
import type { GpuDevice } from "../../device/gpu_device.ts";
import type { GpuKvCache } from "../gpu_op.ts";
import type { KvLayer } from "../graph.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise } from "../wgsl.ts";
import code from "./block_staging.wgsl" with { type: "text" };
import { kvRowBytes } from "./kv_layout.ts";

type Direction = "park" | "unpark";

/** One layer's share of the work. */
interface Part {
  readonly pipelines: Readonly<Record<Direction, GPUComputePipeline>>;
  readonly bindGroup: GPUBindGroup;
}

export class GpuBlockStaging implements Disposable {
  /** [maxBlocks][blockBytes]: of each block K and V of the first layer, then of the next. */
  readonly buffer: GPUBuffer;
  readonly blockBytes: number;
  /** Blocks that fit. */
  readonly maxBlocks: number;
  readonly #device: GPUDevice;
  readonly #blocks: GPUBuffer;
  readonly #uniforms: GPUBuffer[] = [];
  readonly #parts: readonly Part[];

  /** @param bytes of the buffer at most, yet room for one block */
  constructor(
    { device }: GpuDevice,
    layers: readonly KvLayer[],
    caches: readonly GpuKvCache[],
    { bytes, maxBlocks }: { readonly bytes: number; readonly maxBlocks: number },
  ) {
    // Bytes of a block of K, or of V, of each layer; whole quads, as a block has 16 rows of whole words.
    const sizes = caches.map(({ type }, i) => kvRowBytes(layers[i], type) * BLOCK_SIZE);
    this.#device = device;
    this.blockBytes = 2 * sizes.reduce((sum, size) => sum + size, 0);
    this.maxBlocks = Math.min(maxBlocks, Math.max(1, Math.floor(bytes / this.blockBytes)));
    this.buffer = device.createBuffer({
      label: "block staging",
      size: this.maxBlocks * this.blockBytes,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    this.#blocks = device.createBuffer({
      label: "staged blocks",
      size: this.maxBlocks * 4,
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST,
    });
    const layout = createLayout(device);
    const compiled = new Map(sizes.map((size) => [size, this.#compile(layout, size)]));
    let offset = 0;
    this.#parts = caches.map((cache, i): Part => {
      const uniform = this.#uniform(offset / 16);
      offset += 2 * sizes[i];
      const buffers = [cache.key, cache.value, this.buffer, this.#blocks, uniform];
      const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
      return { pipelines: compiled.get(sizes[i])!, bindGroup: device.createBindGroup({ layout, entries }) };
    });
  }

  /** From the cache to the buffer (park), or back. One encoding must be submitted before the next. */
  encode(encoder: GPUCommandEncoder, direction: Direction, blocks: readonly number[]): void {
    this.#device.queue.writeBuffer(this.#blocks, 0, Uint32Array.from(blocks));
    const pass = encoder.beginComputePass();
    for (const { pipelines, bindGroup } of this.#parts) {
      pass.setPipeline(pipelines[direction]);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(blocks.length, 2);
    }
    pass.end();
  }

  [Symbol.dispose](): void {
    for (const buffer of [this.buffer, this.#blocks, ...this.#uniforms]) buffer.destroy();
  }

  #compile(layout: GPUBindGroupLayout, size: number): Part["pipelines"] {
    const module = this.#device.createShaderModule({
      label: "block staging",
      code: specialise(code, { QUADS: size / 16, STRIDE: this.blockBytes / 16 }),
    });
    const pipelineLayout = this.#device.createPipelineLayout({ bindGroupLayouts: [layout] });
    const pipeline = (entryPoint: Direction) =>
      this.#device.createComputePipeline({
        label: entryPoint,
        layout: pipelineLayout,
        compute: { module, entryPoint },
      });
    return { park: pipeline("park"), unpark: pipeline("unpark") };
  }

  #uniform(word: number): GPUBuffer {
    const buffer = this.#device.createBuffer({
      label: "staged layer",
      size: 16,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    this.#device.queue.writeBuffer(buffer, 0, Uint32Array.of(word, 0, 0, 0));
    this.#uniforms.push(buffer);
    return buffer;
  }
}

function createLayout(device: GPUDevice): GPUBindGroupLayout {
  const types = ["storage", "storage", "storage", "read-only-storage", "uniform"] as const;
  return device.createBindGroupLayout({
    entries: types.map((type, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type },
    })),
  });
}
