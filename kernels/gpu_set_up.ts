// Tables that the GPU makes itself when a plan is made: what a lowering asks for is noted, and made one after the other
// once everything is lowered. Knows no op.
import type { GpuDevice } from "../device/gpu_device.ts";
import type { Grid, KernelCall } from "./gpu_op.ts";
import { compileCalls, encodeCall, PipelineCache } from "./pipelines.ts";

/** A dispatch that does not depend on any step. */
export interface SetUpCall extends Pick<KernelCall, "label" | "code" | "bindings"> {
  readonly grid: Grid;
}

/** How a table is made of what the host has. */
export interface TableSetUp {
  /** Uploaded when it is the table's turn, and gone afterwards. */
  source(): Float32Array;
  calls(source: GPUBuffer, table: GPUBuffer): SetUpCall[];
}

interface Noted {
  readonly name: string;
  readonly table: GPUBuffer;
  readonly setUp: TableSetUp;
}

/** Sources under way: they are freed when the GPU is done with them. */
const MOST_SOURCE_BYTES = 2 ** 30;

export class GpuSetUps {
  readonly #gpu: GpuDevice;
  readonly #noted: Noted[] = [];

  constructor(gpu: GpuDevice) {
    this.#gpu = gpu;
  }

  note(name: string, table: GPUBuffer, setUp: TableSetUp): void {
    this.#noted.push({ name, table, setUp });
  }

  /** Makes all tables. @throws {SyntaxError} when a kernel's WGSL is invalid */
  async run(): Promise<void> {
    const { device } = this.#gpu, cache = new PipelineCache();
    let sourceBytes = 0;
    for (const { name, table, setUp } of this.#noted.splice(0)) {
      const source = this.#upload(name, setUp.source());
      const calls = setUp.calls(source, table);
      const compiled = await compileCalls(
        this.#gpu,
        calls.map((call) => ({ ...call, grid: () => call.grid })),
        cache,
      );
      const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass();
      compiled.forEach((call, i) => encodeCall(pass, { call, grid: calls[i].grid }));
      pass.end();
      device.queue.submit([encoder.finish()]);
      source.destroy();
      sourceBytes += source.size;
      if (sourceBytes < MOST_SOURCE_BYTES) continue;
      await this.#gpu.wait(device.queue.onSubmittedWorkDone(), 0);
      sourceBytes = 0;
    }
  }

  #upload(name: string, values: Float32Array): GPUBuffer {
    const buffer = this.#gpu.device.createBuffer({
      label: `source of ${name}`,
      size: Math.max(16, values.byteLength),
      usage: GPUBufferUsage.STORAGE,
      mappedAtCreation: true,
    });
    new Float32Array(buffer.getMappedRange()).set(values);
    buffer.unmap();
    return buffer;
  }
}
