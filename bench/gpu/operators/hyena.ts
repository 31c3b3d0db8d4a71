// Hyena's operator: a long convolution between two gates.
import { GraphBuilder } from "../../../kernels/graph_builder.ts";
import { uniform } from "../random_values.ts";
import { RandomVectors } from "../random_vectors.ts";
import type { Operator } from "./operator.ts";

export function hyenaOperator(width: number, taps: number): Operator {
  const weights = new RandomVectors(), builder = new GraphBuilder();
  const x = builder.input("x", width),
    before = builder.input("before", width),
    after = builder.input("after", width);
  const decay = Float32Array.from({ length: taps }, (_, lag) => Math.exp(-5 * lag / taps));
  const filter = weights.add("filter", [width, taps], (at) => uniform() * decay[at % taps]);
  const graph = builder.build(builder.longConvolution(x, filter, { before, after }));
  const h = weights.values("filter");
  return {
    graph,
    weights,
    tolerance: 3e-5,
    samples: 200,
    expected: (inputs, channel, t) => {
      let y = 0;
      for (let j = 0; j <= t; j++) {
        const at = j * width + channel;
        y += h[channel * taps + t - j] * inputs.x[at] * inputs.before[at];
      }
      return y * inputs.after[t * width + channel];
    },
  };
}
