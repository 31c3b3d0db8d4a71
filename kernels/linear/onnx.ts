// Linear on the CPU. Gemm with the weight as it is stored, [out, in]: onnxruntime packs the constant once at load,
// after which the layout no longer matters. The activation takes the bias along, in one pass over the product.
import type { Activation, LinearNode } from "../graph.ts";
import type { OnnxContext } from "../onnx.ts";

export function linearToOnnx(context: OnnxContext, node: LinearNode): void {
  const operands = [context.nameOf(node.input), context.weight(node.weight)];
  const bias = node.bias && context.weight(node.bias);
  let output: string;
  if (node.activation) {
    output = activationToOnnx(context, node.activation, gemm(context, operands), bias);
  } else {
    output = gemm(context, bias ? [...operands, bias] : operands);
  }
  if (node.residual) output = context.emit("Add", [output, context.nameOf(node.residual)]);
  context.define(node.output, output);
}

function gemm(context: OnnxContext, operands: string[]): string {
  return context.emit("Gemm", operands, { transB: 1n });
}

function activationToOnnx(
  context: OnnxContext,
  activation: Activation,
  input: string,
  bias?: string,
): string {
  if (activation === "gelu_tanh") return context.emit("FastGelu", bias ? [input, bias] : [input]);
  return bias ? context.emit("BiasGelu", [input, bias]) : context.emit("Gelu", [input]);
}
