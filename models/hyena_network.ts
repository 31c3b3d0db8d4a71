// Hyena models as graphs: a layer is a projection, Hyena's operator and a projection.
import { buildDecoder, project } from "./decoder_graph.ts";
import { hyenaLayout, parseHyenaConfig } from "./hyena.ts";
import { deriveHyena } from "./hyena_derived.ts";
import { hyenaOperator } from "./hyena_operator.ts";
import type { Architecture } from "./network.ts";

export const hyena: Architecture = {
  modelType: "hyena",
  build(json, source) {
    const config = parseHyenaConfig(json), layout = hyenaLayout(config, source);
    const { steps, source: tensors } = deriveHyena(config, layout, source);
    const graph = buildDecoder(layout, config.epsilon, (b, x, residual, layer) => {
      const refs = layout.mixers[layer];
      return project(b, hyenaOperator(b, project(b, x, refs.in), steps[layer]), refs.out, residual);
    });
    const { contextLength, vocabSize, width } = config;
    return { graph, tensors, contextLength, vocabSize, width };
  },
};

/** The same network under the name that HyenaDNA's port gives it; `parseHyenaConfig` knows its defaults. */
export const hyenaDna: Architecture = { ...hyena, modelType: "hyenadna" };
