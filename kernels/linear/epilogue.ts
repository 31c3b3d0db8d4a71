// What a linear kernel does with a finished dot product: scale of int8 rows, bias, GELU, residual, store. Shared by both
// forms; knows nothing of how the product was made.
import { type Binding, type GpuContext, type GpuMatrix } from "../gpu_op.ts";
import type { Activation, LinearNode } from "../graph.ts";
import gelu from "./gelu.wgsl" with { type: "text" };

const ACTIVATIONS: Record<Activation, string> = { gelu_tanh: "geluTanh", gelu_erf: "geluErf" };

export interface Epilogue {
  /**
   * WGSL: the bindings from `firstBinding` on, `fn termsOf(at: u32, column: u32) -> Terms`, which reads what is not a
   * product and may run long before it, and `fn finish(at: u32, terms: Terms, sum: f32)`; `at` is the element of output.
   */
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
  const declarations: string[] = [], bindings: Binding[] = [];
  const bind = (name: string, buffer: GPUBuffer, access: "read" | "readWrite" = "read") => {
    const space = access === "read" ? "storage, read" : "storage, read_write";
    declarations.push(
      `@group(0) @binding(${firstBinding + bindings.length}) var<${space}> ${name}: array<f32>;`,
    );
    bindings.push({ buffer, access });
  };
  bind("output", context.activation(node.output), "readWrite");
  if (weight.scales) bind("scales", weight.scales);
  if (node.bias) bind("bias", context.vector(node.bias));
  if (node.residual) bind("residual", context.activation(node.residual));
  const terms = [
    weight.scales ? "scales[column]" : "1.0",
    node.bias ? "bias[column]" : "0.0",
    node.residual ? "residual[at]" : "0.0",
  ];
  const steps = [
    "var y = sum;",
    ...(weight.scales ? ["y *= terms.scale;"] : []),
    ...(node.bias ? ["y += terms.bias;"] : []),
    ...(node.activation ? [`y = ${ACTIVATIONS[node.activation]}(y);`] : []),
    ...(node.residual ? ["y += terms.residual;"] : []),
    "output[at] = y;",
  ];
  const code = `${declarations.join("\n")}
${node.activation ? gelu : ""}
struct Terms { scale: f32, bias: f32, residual: f32 }
fn termsOf(at: u32, column: u32) -> Terms { return Terms(${terms.join(", ")}); }
fn finish(at: u32, terms: Terms, sum: f32) {
    ${steps.join("\n    ")}
}`;
  return { code, bindings };
}
