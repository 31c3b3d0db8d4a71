// StripedHyena models as graphs: pre-norm blocks of a mixer and a gated MLP, all without positions but where they attend.
import { columnsOf } from "../kernels/columns.ts";
import type { Value } from "../kernels/graph.ts";
import { GraphBuilder } from "../kernels/graph_builder.ts";
import { loadFloat32, type TensorSource, type WeightRef } from "../kernels/tensor_source.ts";
import { project } from "./decoder_graph.ts";
import { DerivedSource, type DerivedTensor } from "./derived_source.ts";
import { hyenaOperator, type HyenaStepRefs } from "./hyena_operator.ts";
import type { Architecture } from "./network.ts";
import { rotaryTurns } from "./rotary.ts";
import { shortTensors } from "./short_tensors.ts";
import {
  parseStripedHyenaConfig,
  type StripedAttentionRefs,
  type StripedBlockRefs,
  type StripedHyenaConfig,
  stripedHyenaLayout,
  type StripedMixerRefs,
} from "./striped_hyena.ts";

export const stripedHyena: Architecture = {
  modelType: "stripedhyena",
  build(json, source) {
    const config = parseStripedHyenaConfig(json), layout = stripedHyenaLayout(config, source);
    const derived: DerivedTensor[] = [], b = new GraphBuilder();
    const turns = turnsOf(config);
    if (config.attentionLayers.length > 0) derived.push(turns);
    let x = b.embedding(layout.embedding);
    for (const { norm1, norm2, mixer, mlp } of layout.blocks) {
      const normed = b.rmsNorm(x, norm1, config.epsilon);
      x = mixer.form === "attention"
        ? attend(b, normed, x, mixer, turns, config)
        : mix(b, normed, x, mixer, stepTensors(config, mixer, source, derived));
      x = feedForward(b, b.rmsNorm(x, norm2, config.epsilon), x, mlp);
    }
    // Only rows that are sampled pay for the last norm and the head.
    const graph = b.build(
      b.linear(b.rmsNorm(b.gatherRows(x), layout.finalNorm, config.epsilon), layout.head),
    );
    const { contextLength, vocabSize, width } = config;
    return { graph, tensors: new DerivedSource(source, derived), contextLength, vocabSize, width };
  },
};

function turnsOf({ width, numHeads, rotaryBase: base, contextLength: numPositions }: StripedHyenaConfig) {
  return rotaryTurns("rotary_turns", { dims: width / numHeads, base, numPositions });
}

function attend(
  b: GraphBuilder,
  x: Value,
  residual: Value,
  refs: StripedAttentionRefs,
  turns: WeightRef,
  { width, numHeads, numKvHeads }: StripedHyenaConfig,
): Value {
  const headSize = width / numHeads;
  const turned = b.rotary(b.linear(x, refs.qkv), turns, { numHeads: numHeads + numKvHeads, headSize });
  const attended = b.attention(turned, { numHeads, numKvHeads, headSize, scale: headSize ** -0.5 });
  return b.linear(attended, refs.out, { residual });
}

function mix(b: GraphBuilder, x: Value, residual: Value, refs: StripedMixerRefs, step: HyenaStepRefs): Value {
  return project(b, hyenaOperator(b, project(b, x, refs.in), step), refs.out, residual);
}

function feedForward(
  b: GraphBuilder,
  x: Value,
  residual: Value,
  { gate, up, down }: StripedBlockRefs["mlp"],
): Value {
  const [by, inner] = [gate, up].map((weight) => b.linear(x, weight));
  const gated = b.gated(columnsOf(inner, 0, inner.width), columnsOf(by, 0, by.width));
  return b.linear(gated, down, { residual });
}

/** What kernels read of a mixer, in the shapes in which they do. */
function stepTensors(
  { width, shortTaps, numModes }: StripedHyenaConfig,
  { short, poles, residues, skip }: StripedMixerRefs,
  source: TensorSource,
  derived: DerivedTensor[],
): HyenaStepRefs {
  const pairs = (ref: WeightRef): DerivedTensor => ({
    name: `${ref.name}.pairs`,
    shape: [width, 2 * numModes],
    from: [ref],
    compute: async () => Float32Array.from(await loadFloat32(source, ref)),
  });
  const gates = shortTensors(short, shortTaps, source, "gates", 0, 2 * width);
  const values = shortTensors(short, shortTaps, source, "values", 2 * width, 3 * width);
  const long = { form: "modal" as const, poles: pairs(poles), residues: pairs(residues), skip };
  derived.push(gates.taps, gates.bias, values.taps, values.bias, long.poles, long.residues);
  return { gates, values, long };
}
