// gated on the CPU by onnxruntime.
import type { Columns } from "../columns.ts";
import type { GatedNode } from "../graph.ts";
import type { OnnxContext } from "../onnx.ts";

export function gatedToOnnx(context: OnnxContext, { input, gate, output }: GatedNode): void {
  const by = slice(context, gate), weight = context.emit("Mul", [by, context.emit("Sigmoid", [by])]);
  context.define(output, context.emit("Mul", [slice(context, input), weight]));
}

function slice(context: OnnxContext, { value, first, width }: Columns): string {
  const name = context.nameOf(value);
  if (width === value.width) return name;
  const [start, end, axis] = [first, first + width, 1].map((number) => context.int64([number]));
  return context.emit("Slice", [name, start, end, axis]);
}
