// rotary on the CPU by onnxruntime.
import type { RotaryNode } from "../graph.ts";
import { type OnnxContext, RUN_INPUT } from "../onnx.ts";

export function rotaryToOnnx(
  context: OnnxContext,
  { input, turns, numHeads, headSize, output }: RotaryNode,
): void {
  const turned = turns.shape[1], half = turned / 2, width = numHeads * headSize;
  const [cos, sin] = [0, 1].map((which) =>
    context.shared(`turns ${turns.name} ${which}`, () => {
      const rows = context.emit("Gather", [context.weight(turns), RUN_INPUT.positions]);
      const pairs = context.emit("Reshape", [rows, context.int64([-1, half, 2])]);
      const one = part(context, pairs, 2, which, which + 1);
      return context.emit("Reshape", [one, context.int64([-1, 1, half])]);
    })
  );
  const name = context.nameOf(input);
  const heads = context.emit("Reshape", [
    width < input.width ? part(context, name, 1, 0, width) : name,
    context.int64([-1, numHeads, headSize]),
  ]);
  const a = part(context, heads, 2, 0, half), b = part(context, heads, 2, half, turned);
  const first = context.emit("Sub", [context.emit("Mul", [a, cos]), context.emit("Mul", [b, sin])]);
  const second = context.emit("Add", [context.emit("Mul", [b, cos]), context.emit("Mul", [a, sin])]);
  const rest = turned < headSize ? [part(context, heads, 2, turned, headSize)] : [];
  const joined = context.emit("Concat", [first, second, ...rest], { axis: 2n });
  const flat = context.emit("Reshape", [joined, context.int64([-1, width])]);
  context.define(
    output,
    width < input.width
      ? context.emit("Concat", [flat, part(context, name, 1, width, input.width)], { axis: 1n })
      : flat,
  );
}

function part(context: OnnxContext, name: string, axis: number, start: number, end: number): string {
  const [from, to, along] = [start, end, axis].map((number) => context.int64([number]));
  return context.emit("Slice", [name, from, to, along]);
}
