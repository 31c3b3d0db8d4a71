// A checkpoint of one random linear, for benchmarks of single products.
import { CopyingSource, scaleName, type TensorInfo } from "../../kernels/tensor_source.ts";

export type WeightType = "f16" | "i8";

export interface WeightShape {
  readonly outputs: number;
  readonly inputs: number;
}

/** A random weight "w" with its scales, and a bias "b". */
export class RandomWeight extends CopyingSource {
  readonly weight: Float16Array<ArrayBuffer> | Int8Array<ArrayBuffer>;
  readonly scales: Float32Array<ArrayBuffer>;
  readonly bias: Float32Array<ArrayBuffer>;
  readonly #shape: WeightShape;

  constructor(shape: WeightShape, type: WeightType) {
    super();
    const { outputs, inputs } = shape, count = outputs * inputs;
    const deviation = Math.sqrt(3 / inputs);
    this.#shape = shape;
    this.weight = type === "f16"
      ? Float16Array.from({ length: count }, () => deviation * (2 * Math.random() - 1))
      : Int8Array.from({ length: count }, () => Math.round(127 * (2 * Math.random() - 1)));
    this.scales = Float32Array.from(
      { length: outputs },
      () => type === "f16" ? 1 : deviation * (0.5 + Math.random()) / 127,
    );
    this.bias = Float32Array.from({ length: outputs }, () => 2 * Math.random() - 1);
  }

  find(name: string): TensorInfo {
    const { outputs, inputs } = this.#shape;
    if (name !== "w") return { name, dtype: "F32", shape: [outputs] };
    return { name, dtype: this.weight instanceof Int8Array ? "I8" : "F16", shape: [outputs, inputs] };
  }

  readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const values = name === "w" ? this.weight : name === scaleName("w") ? this.scales : this.bias;
    const rowBytes = values.byteLength / this.#shape.outputs;
    return Promise.resolve(new Uint8Array(values.buffer).slice(start * rowBytes, end * rowBytes));
  }
}
