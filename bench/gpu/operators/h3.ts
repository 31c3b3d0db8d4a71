// H3's operator: the shift SSM gated by v, and the diagonal SSM gated by q.
import { GraphBuilder } from "../../../kernels/graph_builder.ts";
import { uniform } from "../random_values.ts";
import { RandomVectors } from "../random_vectors.ts";
import type { Inputs, Operator } from "./operator.ts";

/** Lags of the shift SSM, modes of the diagonal one. */
const SHIFT_TAPS = 64, MODES = 32;

export function h3Operator(width: number): Operator {
  const weights = new RandomVectors(), builder = new GraphBuilder();
  const k = builder.input("k", width), v = builder.input("v", width), q = builder.input("q", width);
  const filter = weights.add("filter", [SHIFT_TAPS, width], () => uniform() / 8);
  // Poles that forget within some 10 to 1000 tokens.
  const size = () => Math.exp(-1 / (10 * 100 ** Math.random()));
  let length = 0, angle = 0;
  const poles = weights.add("poles", [width, 2 * MODES], (at) => {
    if (at % 2 === 1) return length * Math.sin(angle);
    [length, angle] = [size(), 2 * Math.PI * Math.random()];
    return length * Math.cos(angle);
  });
  const residues = weights.add("residues", [width, 2 * MODES], () => uniform() / Math.sqrt(MODES));
  const skip = weights.add("skip", [width], uniform);
  const w = builder.shortConvolution(k, filter, { gate: v });
  const graph = builder.build(builder.diagonalSsm(w, { poles, residues, skip }, { gate: q }));
  const shifted = (inputs: Inputs, channel: number, t: number) => {
    let sum = 0;
    for (let i = 0; i < SHIFT_TAPS && i <= t; i++) {
      sum += weights.values("filter")[i * width + channel] * inputs.k[(t - i) * width + channel];
    }
    return sum * inputs.v[t * width + channel];
  };
  return {
    graph,
    weights,
    tolerance: 3e-5,
    samples: 40,
    expected: (inputs, channel, t) => {
      const pole = weights.values("poles").subarray(2 * MODES * channel, 2 * MODES * (channel + 1));
      const residue = weights.values("residues").subarray(2 * MODES * channel, 2 * MODES * (channel + 1));
      const state = new Float64Array(2 * MODES);
      let last = 0;
      for (let j = 0; j <= t; j++) {
        last = shifted(inputs, channel, j);
        for (let re = 0, im = 1; re < 2 * MODES; re += 2, im += 2) {
          const next = pole[re] * state[re] - pole[im] * state[im] + last;
          state[im] = pole[re] * state[im] + pole[im] * state[re];
          state[re] = next;
        }
      }
      let y = weights.values("skip")[channel] * last;
      for (let re = 0; re < 2 * MODES; re += 2) {
        y += residue[re] * state[re] - residue[re + 1] * state[re + 1];
      }
      return y * inputs.q[t * width + channel];
    },
  };
}
