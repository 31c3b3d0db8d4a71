// H3 hybrids as graphs: an H3 layer is a projection, a gated short convolution, a gated diagonal SSM and a projection.
import { columnsOf } from "../kernels/columns.ts";
import type { Value } from "../kernels/graph.ts";
import type { GraphBuilder } from "../kernels/graph_builder.ts";
import type { WeightRef } from "../kernels/tensor_source.ts";
import { buildDecoder, project } from "./decoder_graph.ts";
import { type H3Config, h3Layout, parseH3Config } from "./h3.ts";
import { deriveH3, type H3StepRefs } from "./h3_derived.ts";
import type { Architecture } from "./network.ts";

export const h3: Architecture = {
  modelType: "h3",
  build(json, source) {
    const config = parseH3Config(json);
    const layout = h3Layout(config, source);
    const { steps, turns, source: tensors } = deriveH3(config, layout, source);
    const graph = buildDecoder(layout, config.epsilon, (b, x, residual, layer) => {
      const refs = layout.mixers[layer], step = steps[layer];
      const qkv = project(b, x, refs.qkv);
      const mixed = step ? mixByH3(b, qkv, step) : attend(b, qkv, turns, config);
      return project(b, mixed, refs.out, residual);
    });
    const { contextLength, vocabSize, width } = config;
    return { graph, tensors, contextLength, vocabSize, width };
  },
};

/** q (SSM(FIR(k) v)) */
function mixByH3(b: GraphBuilder, qkv: Value, { taps, poles, residues, skip }: H3StepRefs): Value {
  const width = qkv.width / 3, part = (i: number) => columnsOf(qkv, i * width, width);
  const w = b.shortConvolution(part(1), taps, { gate: part(2) });
  return b.diagonalSsm(w, { poles, residues, skip }, { gate: part(0) });
}

/** Where heads are turned, those of queries and of keys are. */
function attend(
  b: GraphBuilder,
  qkv: Value,
  turns: WeightRef | undefined,
  { width, numHeads }: H3Config,
): Value {
  const headSize = width / numHeads;
  const turned = turns ? b.rotary(qkv, turns, { numHeads: 2 * numHeads, headSize }) : qkv;
  return b.attention(turned, { numHeads, numKvHeads: numHeads, headSize, scale: headSize ** -0.5 });
}
