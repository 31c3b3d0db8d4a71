// What a linear kernel does with a finished dot product: scale of int8 rows, bias, GELU, residual, store. Shared by all
// forms; knows nothing of how the product was made.
import { type Binding, type GpuContext, type GpuMatrix, rowStride } from "../gpu_op.ts";
import type { Activation, LinearNode } from "../graph.ts";
import { PACK_HALVES } from "../half_values.ts";
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

/**
 * Writes the epilogue of `node`; a column is an output column, not a row of a shard. There is also `fn finished(terms:
 * Terms, sum: f32) -> f32`, and with `whole` that alone: whole_numbers.ts stores what it gives.
 */
export function linearEpilogue(
  node: LinearNode,
  weight: GpuMatrix,
  context: GpuContext,
  firstBinding: number,
  { whole = false } = {},
): Epilogue {
  const { declarations, bindings } = bindTerms(node, weight.scales, context, firstBinding + 1, "f32");
  const terms = [
    weight.scales ? "scales[column]" : "1.0",
    node.bias ? "bias[column]" : "0.0",
    node.residual ? "residual[at]" : "0.0",
  ];
  const steps = stepsFromSum(node, weight.scales, (gelu) => `${gelu}(y)`, "terms.residual");
  const code = `@group(0) @binding(${firstBinding}) var<storage, read_write> output: array<${
    whole ? "u32" : "f32"
  }>;
${declarations}
${node.activation ? gelu : ""}
struct Terms { scale: f32, bias: f32, residual: f32 }
fn termsOf(at: u32, column: u32) -> Terms { return Terms(${terms.join(", ")}); }
fn finished(terms: Terms, sum: f32) -> f32 {
    ${[...steps, "return y;"].join("\n    ")}
}
${whole ? "" : "fn finish(at: u32, terms: Terms, sum: f32) { output[at] = finished(terms, sum); }"}`;
  return {
    code,
    bindings: [{ buffer: context.activation(node.output), access: "readWrite" }, ...bindings],
  };
}

/** What quad epilogues differ in. */
export interface QuadOptions {
  /** Whether the sums have the weight's row scales already. */
  readonly scaled?: boolean;
}

/**
 * The same for four columns at once: `fn termsOf(column: u32) -> Terms` of columns `column` to `column + 3`, which serve
 * every row, and `fn finish(at: u32, terms: Terms, sum: vec4<f32>)`, where `at` is the four of output: of the output's
 * halves, where it is a half value (outputQuads). What lies beyond the output's width stays zero.
 */
export function quadEpilogue(
  node: LinearNode,
  weight: GpuMatrix,
  context: GpuContext,
  firstBinding: number,
  options: QuadOptions = {},
): Epilogue {
  const halves = context.halves(node.output);
  const { code, bindings } = quadTerms(node, weight, context, firstBinding + 1, options);
  const output = `@group(0) @binding(${firstBinding}) var<storage, read_write> output: array<${
    halves ? "vec2<u32>" : "vec4<f32>"
  }>;${halves ? `\n${PACK_HALVES}` : ""}`;
  const value = "finished(at, terms, sum)";
  return {
    code: `${output}
${code}
fn finish(at: u32, terms: Terms, sum: vec4<f32>) { output[at] = ${
      halves ? `packHalves(${value})` : value
    }; }`,
    bindings: [
      { buffer: halves?.buffer ?? context.activation(node.output), access: "readWrite" },
      ...bindings,
    ],
  };
}

/** Fours of a row of what quadEpilogue writes. */
export function outputQuads(node: LinearNode, context: GpuContext): number {
  const halves = context.halves(node.output);
  return halves ? 2 * halves.words : rowStride(node.output.width) / 4;
}

/** Without the output: `fn finished(at: u32, terms: Terms, sum: vec4<f32>) -> vec4<f32>`, `at` counted as in the residual. */
export function quadTerms(
  node: LinearNode,
  weight: GpuMatrix,
  context: GpuContext,
  firstBinding: number,
  { scaled = false }: QuadOptions,
): Epilogue {
  const scales = scaled ? undefined : weight.scales;
  const { declarations, bindings } = bindTerms(node, scales, context, firstBinding, "vec4<f32>");
  const four = (value: (i: number) => string) => `vec4<f32>(${[0, 1, 2, 3].map(value).join(", ")})`;
  const columns = (name: string) => four((i) => `${name}[min(column + ${i}u, ${weight.rows - 1}u)]`);
  const terms = [
    scales ? columns("scales") : "vec4<f32>(1.0)",
    node.bias ? columns("bias") : "vec4<f32>()",
    `vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(${weight.rows}u)`,
  ];
  const activated = (gelu: string) => four((i) => `${gelu}(y.${"xyzw"[i]})`);
  const steps = [
    ...stepsFromSum(node, scales, activated, "residual[at]"),
    weight.rows % 4 === 0 ? "return y;" : "return select(vec4<f32>(), y, terms.present);",
  ];
  const code = `${declarations}
${node.activation ? gelu : ""}
struct Terms { scale: vec4<f32>, bias: vec4<f32>, present: vec4<bool> }
fn termsOf(column: u32) -> Terms { return Terms(${terms.join(", ")}); }
fn finished(at: u32, terms: Terms, sum: vec4<f32>) -> vec4<f32> {
    ${steps.join("\n    ")}
}`;
  return { code, bindings };
}

/**
 * WGSL that makes `y` of `sum`, in the order that `LinearNode` gives.
 * @param activated of y, by the WGSL function of that name
 * @param residual what is read for it
 */
function stepsFromSum(
  { bias, activation, residual: added }: LinearNode,
  scales: GPUBuffer | undefined,
  activated: (gelu: string) => string,
  residual: string,
): string[] {
  return [
    "var y = sum;",
    ...(scales ? ["y *= terms.scale;"] : []),
    ...(bias ? ["y += terms.bias;"] : []),
    ...(activation ? [`y = ${activated(ACTIVATIONS[activation])};`] : []),
    ...(added ? [`y += ${residual};`] : []),
  ];
}

/** What is not a product: per column as f32, per element as `element`. */
function bindTerms(
  node: LinearNode,
  scales: GPUBuffer | undefined,
  context: GpuContext,
  firstBinding: number,
  element: "f32" | "vec4<f32>",
): { declarations: string; bindings: Binding[] } {
  const declarations: string[] = [], bindings: Binding[] = [];
  const bind = (name: string, type: string, buffer: GPUBuffer) => {
    declarations.push(
      `@group(0) @binding(${firstBinding + bindings.length}) var<storage, read> ${name}: array<${type}>;`,
    );
    bindings.push({ buffer, access: "read" });
  };
  if (scales) bind("scales", "f32", scales);
  if (node.bias) bind("bias", "f32", context.vector(node.bias));
  if (node.residual) bind("residual", element, context.activation(node.residual));
  return { declarations: declarations.join("\n"), bindings };
}
