// Copies what recurrent layers keep of a sequence from slot to slot on the GPU, all layers of it. WebGPU copies no buffer
// to itself, so it goes by way of a buffer in between.
import type { StateLayer } from "./graph.ts";
import type { StateCopy } from "./step.ts";

export class GpuStateCopier implements Disposable {
  /** Of each layer: its states, bytes of a slot, and where one lies in the buffer in between. */
  readonly #layers: readonly {
    readonly states: GPUBuffer;
    readonly bytes: number;
    readonly between: number;
  }[];
  readonly #between: GPUBuffer;

  constructor(device: GPUDevice, layers: readonly StateLayer[], states: readonly GPUBuffer[]) {
    let total = 0;
    this.#layers = layers.map(({ floats }, i) => {
      const bytes = floats * 4, between = total;
      total += bytes;
      return { states: states[i], bytes, between };
    });
    this.#between = device.createBuffer({
      label: "state copy",
      size: Math.max(16, total),
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
  }

  encode(encoder: GPUCommandEncoder, { from, to }: StateCopy): void {
    for (const { states, bytes, between } of this.#layers) {
      encoder.copyBufferToBuffer(states, from * bytes, this.#between, between, bytes);
    }
    for (const { states, bytes, between } of this.#layers) {
      encoder.copyBufferToBuffer(this.#between, between, states, to * bytes, bytes);
    }
  }

  [Symbol.dispose](): void {
    this.#between.destroy();
  }
}
