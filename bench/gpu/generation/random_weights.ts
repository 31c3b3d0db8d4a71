// Random weights for a model that is nowhere on disk: every tensor is a stretch of one drawn stock, so that making and
// loading billions of them takes as long as copying does. Matrices are f16, vectors and filters f32.
import {
  BYTES_PER_ELEMENT,
  type TensorInfo,
  type TensorSource,
  type WeightRef,
} from "../../../kernels/tensor_source.ts";
import { uniforms } from "../random_values.ts";

/** Numbers of a stock. */
const STOCK = 2 ** 23;
/** As large as weights of trained models are, roughly; real and imaginary parts of poles within the unit circle. */
const SIZE = 0.03, POLE_SIZE = 0.6;

type Role = "matrix" | "vector" | "filter";

export class RandomWeights implements TensorSource {
  readonly #infos: ReadonlyMap<string, TensorInfo>;
  readonly #stocks = new Map<string, Uint8Array>();

  /** @param roleOf decides how a tensor is stored; vectors and filters alike */
  constructor(refs: readonly WeightRef[], roleOf: (ref: WeightRef) => Role) {
    this.#infos = new Map(refs.map((ref) => {
      const { name, shape } = ref;
      return [name, { name, shape, dtype: roleOf(ref) === "matrix" ? "F16" : "F32" }];
    }));
  }

  find(name: string): TensorInfo | undefined {
    return this.#infos.get(name);
  }

  async readRows(name: string, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    const { dtype, shape } = this.#infos.get(name)!;
    const rowBytes = shape.slice(1).reduce((a, b) => a * b, BYTES_PER_ELEMENT[dtype]);
    const rows = new Uint8Array((end - start) * rowBytes);
    await this.readRowsInto(name, start, end, rows);
    return rows;
  }

  readRowsInto(name: string, start: number, _end: number, target: Uint8Array<ArrayBuffer>): Promise<void> {
    const stock = this.#stockOf(this.#infos.get(name)!);
    // Rows that begin anywhere in the stock, at whole words.
    for (let to = 0, from = 4096 * start % stock.length; to < target.length; from = 0) {
      const part = stock.subarray(from, from + target.length - to);
      target.set(part, to);
      to += part.length;
    }
    return Promise.resolve();
  }

  #stockOf({ name, dtype }: TensorInfo): Uint8Array {
    const key = /poles$/.test(name) ? "poles" : dtype;
    const known = this.#stocks.get(key);
    if (known) return known;
    const values = uniforms(STOCK, key === "poles" ? POLE_SIZE : SIZE);
    const stored = dtype === "F16" ? Float16Array.from(values) : values;
    const stock = new Uint8Array(stored.buffer);
    this.#stocks.set(key, stock);
    return stock;
  }
}
