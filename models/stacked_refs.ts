// Collects, while a network is built, the wholes that a StackedSource is to give: projections of one input that files hold
// as several tensors.
import { requireTensor, type TensorSource, type WeightRef } from "../kernels/tensor_source.ts";

/** Wholes that are to be read, of parts that are checked; a quantised file of ours has them whole. */
export class StackedRefs {
  readonly parts = new Map<string, readonly string[]>();
  readonly #source: TensorSource;

  constructor(source: TensorSource) {
    this.#source = source;
  }

  /**
   * The whole [sum of rows, ...rest] of parts [rows, ...rest].
   * @throws {TypeError} naming a part that is missing or misshapen
   */
  stack(name: string, parts: readonly string[], rows: readonly number[], rest: readonly number[]): WeightRef {
    if (!this.#source.find(name)) {
      parts.forEach((part, i) => requireTensor(this.#source, { name: part, shape: [rows[i], ...rest] }));
      this.parts.set(name, parts);
    }
    return { name, shape: [rows.reduce((sum, count) => sum + count, 0), ...rest] };
  }
}

/** Heads of grouped-query attention. */
export interface GroupedHeads {
  readonly width: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headSize: number;
}

/** q, k and v of `name` (as "model.layers.0.self_attn") as one projection, in the order that attention reads. */
export function stackQkv(
  stacks: StackedRefs,
  name: string,
  { width, numHeads, numKvHeads, headSize }: GroupedHeads,
  biased: boolean,
): { readonly weight: WeightRef; readonly bias?: WeightRef } {
  const rows = [numHeads, numKvHeads, numKvHeads].map((heads) => heads * headSize);
  const stack = (kind: string, rest: readonly number[]) => {
    const parts = ["q_proj", "k_proj", "v_proj"].map((part) => `${name}.${part}.${kind}`);
    return stacks.stack(`${name}.qkv_proj.${kind}`, parts, rows, rest);
  };
  return { weight: stack("weight", [width]), ...(biased && { bias: stack("bias", []) }) };
}
