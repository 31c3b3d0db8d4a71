// Hyena's operator of order 2 (Hyena Hierarchy, section 3): two short convolutions and a long one between two gates. The
// long convolution is exact, its inputs kept for as long as a sequence lives, or, in modal form, a diagonal SSM.
import { columnsOf } from "../kernels/columns.ts";
import type { Value } from "../kernels/graph.ts";
import type { GraphBuilder } from "../kernels/graph_builder.ts";
import type { WeightRef } from "../kernels/tensor_source.ts";
import type { HyenaModalRefs } from "./hyena.ts";
import type { ShortRefs } from "./short_tensors.ts";

export interface HyenaStepRefs {
  /** Of the gate after the long convolution, then of that before it: 2 width channels. */
  readonly gates: ShortRefs;
  /** Of what is convolved: width channels. */
  readonly values: ShortRefs;
  readonly long: HyenaLongRefs | HyenaModalRefs;
}

export interface HyenaLongRefs {
  readonly form: "filter";
  /** [width, contextLength] by lag, with the input's own share in lag 0. */
  readonly filter: WeightRef;
}

/** x0 times the long convolution of x1 v, all three after their short convolution. */
export function hyenaOperator(b: GraphBuilder, p: Value, { gates, values, long }: HyenaStepRefs): Value {
  const width = p.width / 3;
  const x = b.shortConvolution(columnsOf(p, 0, 2 * width), gates.taps, { bias: gates.bias });
  const u = b.shortConvolution(columnsOf(p, 2 * width, width), values.taps, {
    bias: values.bias,
    gate: columnsOf(x, width, width),
  });
  const after = columnsOf(x, 0, width);
  if (long.form === "modal") return b.diagonalSsm(u, long, { gate: after });
  const carried = b.convolutionHistory(u, long.filter);
  return b.longConvolution(u, long.filter, { after, carried });
}
