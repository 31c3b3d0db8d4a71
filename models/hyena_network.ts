// Hyena models as graphs: a layer is a projection, two short convolutions, a long one between two gates and a projection.
// The long convolution is exact, its inputs kept for as long as a sequence lives, or, in modal form, a diagonal SSM.
import { columnsOf } from "../kernels/columns.ts";
import type { GraphBuilder, Value } from "../kernels/graph.ts";
import { buildDecoder, project } from "./decoder_graph.ts";
import { hyenaLayout, parseHyenaConfig } from "./hyena.ts";
import { deriveHyena, type HyenaStepRefs } from "./hyena_derived.ts";
import type { Architecture } from "./network.ts";

export const hyena: Architecture = {
  modelType: "hyena",
  build(json, source) {
    const config = parseHyenaConfig(json), layout = hyenaLayout(config, source);
    const { steps, source: tensors } = deriveHyena(config, layout, source);
    const graph = buildDecoder(layout, config.epsilon, (b, x, residual, layer) => {
      const refs = layout.mixers[layer];
      return project(b, mix(b, project(b, x, refs.in), steps[layer]), refs.out, residual);
    });
    return { graph, tensors, contextLength: config.contextLength, vocabSize: config.vocabSize };
  },
};

/** The same network under the name that HyenaDNA's port gives it; `parseHyenaConfig` knows its defaults. */
export const hyenaDna: Architecture = { ...hyena, modelType: "hyenadna" };

/** x0 times the long convolution of x1 v, all three after their short convolution. */
function mix(b: GraphBuilder, p: Value, { gates, values, long }: HyenaStepRefs): Value {
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
