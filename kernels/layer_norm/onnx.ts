// LayerNorm on the CPU: RMSNorm by its formula, else ONNX's own operator, on rows whose mean is taken out first. onnxruntime computes the variance
// as E[x²] - E[x]² in f32, which cancels where the mean is large against the spread.
import type { LayerNormNode } from "../graph.ts";
import type { OnnxContext } from "../onnx.ts";

export function layerNormToOnnx(context: OnnxContext, node: LayerNormNode): void {
  const input = context.nameOf(node.input);
  if (!node.bias) {
    const squares = context.emit("ReduceMean", [context.emit("Mul", [input, input]), context.int64([-1])], {
      keepdims: 1n,
    });
    const size = context.emit("Sqrt", [context.emit("Add", [squares, context.float(node.epsilon)])]);
    const normed = context.emit("Div", [input, size]);
    return context.define(node.output, context.emit("Mul", [normed, context.weight(node.scale)]));
  }
  const mean = context.emit("ReduceMean", [input, context.int64([-1])], { keepdims: 1n });
  const centred = context.emit("Sub", [input, mean]);
  const inputs = [centred, context.weight(node.scale), context.weight(node.bias)];
  context.define(
    node.output,
    context.emit("LayerNormalization", inputs, { axis: -1n, epsilon: node.epsilon }),
  );
}
