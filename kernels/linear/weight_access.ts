// What the forms of linear need beyond the weight's own binding to read it: nothing but for int4, whose groups have
// multipliers.
import type { Binding, MatrixShard } from "../gpu_op.ts";
import code from "./int4.wgsl" with { type: "text" };

export interface WeightAccess {
  /** WGSL: the bindings from `firstBinding` on, and functions. */
  readonly code: string;
  readonly bindings: readonly Binding[];
}

export function weightAccess({ multipliers }: MatrixShard, firstBinding: number): WeightAccess {
  if (!multipliers) return { code: "", bindings: [] };
  return {
    code: `@group(0) @binding(${firstBinding}) var<storage, read> multipliers: array<u32>;\n${code}`,
    bindings: [{ buffer: multipliers, access: "read" }],
  };
}
