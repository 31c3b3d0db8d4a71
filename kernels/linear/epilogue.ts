// What a linear kernel does with a finished dot product: scale of int8 rows, bias, GELU, residual, store. Shared by both
// forms; knows nothing of how the product was made.
import { type Binding, type GpuContext, type GpuMatrix } from "../gpu_op.ts";
import type { Activation, LinearNode } from "../graph.ts";
import gelu from "./gelu.wgsl" with { type: "text" };

const ACTIVATIONS: Record<Activation, string> = { gelu_tanh: "geluTanh", gelu_erf: "geluErf" };

export interface Epilogue {
  /** WGSL: the bindings from `firstBinding` on, and `fn finish(at: u32, column: u32, sum: f32)`, `at` the element of output. */
  readonly code: string;
  readonly bindings: readonly Binding[];
}

/** Writes the epilogue of `node`; a column is an output column, not a row of a shard. */
export function linearEpilogue(
  node: LinearNode,
  weight: GpuMatrix,
  context: GpuContext,
  firstBinding: number,
): Epilogue {
  const declarations: string[] = [], bindings: Binding[] = [], steps: string[] = [];
  const bind = (name: string, buffer: GPUBuffer, access: "read" | "readWrite" = "read") => {
    const space = access === "read" ? "storage, read" : "storage, read_write";
    declarations.push(
      `@group(0) @binding(${firstBinding + bindings.length}) var<${space}> ${name}: array<f32>;`,
    );
    bindings.push({ buffer, access });
  };
  bind("output", context.activation(node.output), "readWrite");
  if (weight.scales) {
    bind("scales", weight.scales);
    steps.push("y *= scales[column];");
  }
  if (node.bias) {
    bind("bias", context.vector(node.bias));
    steps.push("y += bias[column];");
  }
  if (node.activation) steps.push(`y = ${ACTIVATIONS[node.activation]}(y);`);
  if (node.residual) {
    bind("residual", context.activation(node.residual));
    steps.push("y += residual[at];");
  }
  const code = `${declarations.join("\n")}
${node.activation ? gelu : ""}
fn finish(at: u32, column: u32, sum: f32) {
    var y = sum;
    ${steps.join("\n    ")}
    output[at] = y;
}`;
  return { code, bindings };
}
