// Gathers blocks of the KV cache in one buffer on the GPU, all layers of a block side by side, and scatters them again: a
// dispatch a layer for all blocks together, since a copy command for each block and layer would cost more than computing
// them anew. Knows nothing of the host.
import type { GpuDevice } from "../../device/gpu_device.ts";
import type { PagedMatrices } from "../gpu_op.ts";
import { BLOCK_SIZE } from "../step.ts";
import { specialise } from "../wgsl.ts";
import code from "./block_staging.wgsl" with { type: "text" };

type Direction = "park" | "unpark";

/** One layer's share of the work. */
interface Part {
  readonly pipelines: Readonly<Record<Direction, GPUComputePipeline>>;
  readonly bindGroup: GPUBindGroup;
  readonly numMatrices: number;
}

export class GpuBlockStaging implements Disposable {
  /** [maxBlocks][blockBytes]: of each block the matrices of the first layer, then of the next. */
  readonly buffer: GPUBuffer;
  readonly blockBytes: number;
  /** Blocks that fit. */
  readonly maxBlocks: number;
  readonly #device: GPUDevice;
  readonly #blocks: GPUBuffer;
  /** What the parts bind beside. */
  readonly #owned: GPUBuffer[] = [];
  readonly #parts: readonly Part[];

  /** @param bytes of the buffer at most, yet room for one block */
  constructor(
    { device }: GpuDevice,
    paged: readonly PagedMatrices[],
    { bytes, maxBlocks }: { readonly bytes: number; readonly maxBlocks: number },
  ) {
    // Bytes of a block of one matrix; whole quads, as a block has 16 rows of whole words.
    const sizes = paged.map(({ rowBytes }) => rowBytes * BLOCK_SIZE);
    const counts = paged.map(({ buffers }) => buffers[1] ? 2 : 1);
    this.#device = device;
    this.blockBytes = sizes.reduce((sum, size, i) => sum + counts[i] * size, 0);
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
    this.#parts = paged.map(({ buffers: [first, second = this.#none()] }, i): Part => {
      const uniform = this.#uniform(offset / 16), numMatrices = counts[i];
      offset += numMatrices * sizes[i];
      const buffers = [first, second, this.buffer, this.#blocks, uniform];
      const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
      const bindGroup = device.createBindGroup({ layout, entries });
      return { pipelines: compiled.get(sizes[i])!, bindGroup, numMatrices };
    });
  }

  /** From the cache to the buffer (park), or back. One encoding must be submitted before the next. */
  encode(encoder: GPUCommandEncoder, direction: Direction, blocks: readonly number[]): void {
    this.#device.queue.writeBuffer(this.#blocks, 0, Uint32Array.from(blocks));
    const pass = encoder.beginComputePass();
    for (const { pipelines, bindGroup, numMatrices } of this.#parts) {
      pass.setPipeline(pipelines[direction]);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(blocks.length, numMatrices);
    }
    pass.end();
  }

  [Symbol.dispose](): void {
    for (const buffer of [this.buffer, this.#blocks, ...this.#owned]) buffer.destroy();
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
    this.#owned.push(buffer);
    return buffer;
  }

  /** Stands where a layer has no second matrix; never touched. */
  #none(): GPUBuffer {
    const buffer = this.#device.createBuffer({ label: "none", size: 16, usage: GPUBufferUsage.STORAGE });
    this.#owned.push(buffer);
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
