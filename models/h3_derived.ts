// What kernels read of an H3 layer's state-space models, as tensors beside those of the checkpoint. Computed in float64,
// kept in f32.
import { tapsByLag } from "../kernels/filters/shift_filter.ts";
import type { TensorSource, WeightRef } from "../kernels/tensor_source.ts";
import { toPairs } from "./complex_array.ts";
import { DerivedSource, type DerivedTensor, once } from "./derived_source.ts";
import { type H3Config, type H3Layout, type H3SsmRefs, loadH3Tables } from "./h3.ts";
import { rotaryTurns } from "./rotary.ts";

/** The shift SSM as a filter, the diagonal one in modal form: s <- poles s + w, y = Re sum of residues s + skip w. */
export interface H3StepRefs {
  /** [taps, width] by lag, with k's own share in lag 0. */
  readonly taps: WeightRef;
  /** [width, 2 modes]: real and imaginary part in turn. */
  readonly poles: WeightRef;
  readonly residues: WeightRef;
  /** [width] */
  readonly skip: WeightRef;
}

export interface DerivedH3 {
  readonly source: TensorSource;
  /** By layer; undefined where it attends. */
  readonly steps: readonly (H3StepRefs | undefined)[];
  /** What attention turns queries and keys by; undefined where it does not. */
  readonly turns: WeightRef | undefined;
}

export function deriveH3(config: H3Config, layout: H3Layout, source: TensorSource): DerivedH3 {
  const derived: DerivedTensor[] = [];
  const steps = layout.mixers.map(({ ssm }, layer) => {
    if (!ssm) return undefined;
    const tensors = stepTensors(config, ssm, source, `backbone.layers.${layer}.mixer`);
    derived.push(tensors.taps, tensors.poles, tensors.residues);
    return { ...tensors, skip: ssm.skip };
  });
  const turns = turnsOf(config);
  if (turns) derived.push(turns);
  return { source: new DerivedSource(source, derived), steps, turns };
}

function turnsOf({ rotaryDims: dims, rotaryBase: base, attentionLayers, contextLength }: H3Config) {
  if (dims === 0 || attentionLayers.length === 0) return undefined;
  return rotaryTurns("backbone.rotary_turns", { dims, base, numPositions: contextLength });
}

function stepTensors(
  { width, numTaps, numModes }: H3Config,
  ssm: H3SsmRefs,
  source: TensorSource,
  at: string,
) {
  const tables = once(() => loadH3Tables(source, ssm));
  const { shiftB, shiftC, shiftSkip, logDt, invAReal, aImag, b, c } = ssm;
  const shift = [shiftB, shiftC, shiftSkip], diagonal = [logDt, invAReal, aImag, b, c];
  return {
    taps: {
      name: `${at}.shift_taps`,
      shape: [numTaps, width],
      from: shift,
      compute: async () => tapsByLag((await tables()).taps, width, "lag"),
    },
    poles: {
      name: `${at}.poles`,
      shape: [width, 2 * numModes],
      from: diagonal,
      compute: async () => Float32Array.from(toPairs((await tables()).ssm.poles)),
    },
    residues: {
      name: `${at}.residues`,
      shape: [width, 2 * numModes],
      from: diagonal,
      compute: async () => Float32Array.from(toPairs((await tables()).ssm.residues)),
    },
  };
}
