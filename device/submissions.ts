// Encodes the work of one step into several submissions, so that the GPU starts on the first while the rest is encoded.

export class Submissions {
  readonly #device: GPUDevice;
  #encoder: GPUCommandEncoder;

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#encoder = device.createCommandEncoder();
  }

  /** What is encoded here goes with the next submission. */
  get encoder(): GPUCommandEncoder {
    return this.#encoder;
  }

  submit(): void {
    this.#device.queue.submit([this.#encoder.finish()]);
    this.#encoder = this.#device.createCommandEncoder();
  }
}
