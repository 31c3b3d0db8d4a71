// Hyena models in modal form as graphs: a layer is a projection, two short convolutions, a gated diagonal SSM and a
// projection. Exact filters need all inputs of a sequence at every step, which no op keeps yet.
import { columnsOf } from "../kernels/columns.ts";
import type { GraphBuilder, Value } from "../kernels/graph.ts";
import { buildDecoder, project } from "./decoder_graph.ts";
import { hyenaLayout, type HyenaModalRefs, parseHyenaConfig } from "./hyena.ts";
import { deriveHyena, type HyenaStepRefs } from "./hyena_derived.ts";
import type { Architecture } from "./network.ts";

export const hyena: Architecture = {
  modelType: "hyena",
  build(json, source) {
    const config = parseHyenaConfig(json), layout = hyenaLayout(config, source);
    const { steps, source: tensors } = deriveHyena(config, layout, source);
    const graph = buildDecoder(layout, config.epsilon, (b, x, residual, layer) => {
      const refs = layout.mixers[layer], step = steps[layer];
      const mixed = mix(b, project(b, x, refs.in), step, modalOf(step));
      return project(b, mixed, refs.out, residual);
    });
    return { graph, tensors, contextLength: config.contextLength, vocabSize: config.vocabSize };
  },
};

/** The same network under the name that HyenaDNA's port gives it; `parseHyenaConfig` knows its defaults. */
export const hyenaDna: Architecture = { ...hyena, modelType: "hyenadna" };

function modalOf({ long }: HyenaStepRefs): HyenaModalRefs {
  if (long.form === "modal") return long;
  throw new TypeError(
    "Cannot load model: exact Hyena filters are not supported yet; put modes in their place with deno task distil",
  );
}

/** x0 SSM(x1 v), all three after their short convolution. */
function mix(b: GraphBuilder, p: Value, { gates, values }: HyenaStepRefs, modal: HyenaModalRefs): Value {
  const width = p.width / 3;
  const x = b.shortConvolution(columnsOf(p, 0, 2 * width), gates.taps, { bias: gates.bias });
  const u = b.shortConvolution(columnsOf(p, 2 * width, width), values.taps, {
    bias: values.bias,
    gate: columnsOf(x, width, width),
  });
  return b.diagonalSsm(u, modal, { gate: columnsOf(x, 0, width) });
}
