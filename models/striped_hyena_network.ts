// StripedHyena models as graphs: pre-norm blocks of a mixer and a gated MLP, all without positions but where they attend.
import { columnsOf } from "../kernels/columns.ts";
import { tapsByLag } from "../kernels/filters/shift_filter.ts";
import { GraphBuilder, type Value } from "../kernels/graph.ts";
import { loadFloat32, type TensorSource, type WeightRef } from "../kernels/tensor_source.ts";
import { DerivedSource, type DerivedTensor } from "./derived_source.ts";
import type { Architecture } from "./network.ts";
import { rotaryTurns } from "./rotary.ts";
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
    const { contextLength, vocabSize } = config;
    return { graph, tensors: new DerivedSource(source, derived), contextLength, vocabSize };
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

/** x2 SSM(x1 v), all three after their short convolution. */
function mix(b: GraphBuilder, x: Value, residual: Value, refs: StripedMixerRefs, step: StepRefs): Value {
  const p = b.linear(x, refs.in.weight, { bias: refs.in.bias }), width = p.width / 3;
  const gates = b.shortConvolution(columnsOf(p, 0, 2 * width), step.gates.taps, { bias: step.gates.bias });
  const u = b.shortConvolution(columnsOf(p, 2 * width, width), step.values.taps, {
    bias: step.values.bias,
    gate: columnsOf(gates, width, width),
  });
  const y = b.diagonalSsm(u, { poles: step.poles, residues: step.residues, skip: refs.skip }, {
    gate: columnsOf(gates, 0, width),
  });
  return b.linear(y, refs.out.weight, { bias: refs.out.bias, residual });
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
interface StepRefs {
  readonly gates: { readonly taps: WeightRef; readonly bias: WeightRef };
  readonly values: { readonly taps: WeightRef; readonly bias: WeightRef };
  readonly poles: WeightRef;
  readonly residues: WeightRef;
}

function stepTensors(
  { width, shortTaps, numModes }: StripedHyenaConfig,
  { short, poles, residues }: StripedMixerRefs,
  source: TensorSource,
  derived: DerivedTensor[],
): StepRefs {
  const add = (name: string, shape: number[], compute: DerivedTensor["compute"]): WeightRef => {
    derived.push({ name, shape, compute });
    return { name, shape };
  };
  const channels = (part: string, start: number, end: number) => ({
    taps: add(`${short.weight.name}.${part}`, [shortTaps, end - start], async () => {
      const stored = (await loadFloat32(source, short.weight)).subarray(start * shortTaps, end * shortTaps);
      return tapsByLag(stored, end - start, "time");
    }),
    bias: add(
      `${short.bias.name}.${part}`,
      [end - start],
      async () => (await loadFloat32(source, short.bias)).slice(start, end),
    ),
  });
  const modes = (ref: WeightRef) =>
    add(
      `${ref.name}.pairs`,
      [width, 2 * numModes],
      async () => Float32Array.from(await loadFloat32(source, ref)),
    );
  return {
    gates: channels("gates", 0, 2 * width),
    values: channels("values", 2 * width, 3 * width),
    poles: modes(poles),
    residues: modes(residues),
  };
}
