// How kernels read columns of several activations, some of which may be absent: one binding and one function each.
import { type Binding, type GpuContext, rowStride } from "./gpu_op.ts";
import type { Columns } from "./columns.ts";

export interface Operands {
  /** WGSL: for each that is there a binding and `fn NAME(row: u32, column: u32) -> f32`. */
  readonly code: string;
  readonly bindings: readonly Binding[];
  /** Bytes of a row of all of them. */
  readonly rowBytes: number;
}

/** The columns by the names of their functions, bound from `firstBinding` on; absent ones are constants: `absent`. */
export function readOperands(
  columns: Readonly<Record<string, Columns | undefined>>,
  context: GpuContext,
  firstBinding: number,
): Operands {
  const bindings: Binding[] = [];
  let rowBytes = 0;
  const code = Object.entries(columns).flatMap(([name, some]) => {
    if (!some) return [];
    const { value, first, width } = some;
    rowBytes += 4 * width;
    const binding = firstBinding + bindings.push({ buffer: context.activation(value), access: "read" }) - 1;
    return [
      `@group(0) @binding(${binding}) var<storage, read> ${name}Rows: array<f32>;`,
      `fn ${name}(row: u32, column: u32) -> f32 { return ${name}Rows[row * ${
        rowStride(value.width)
      }u + ${first}u + column]; }`,
    ];
  }).join("\n");
  return { code, bindings, rowBytes };
}
