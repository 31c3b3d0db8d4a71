// What kernels read of a Hyena layer's convolutions, as tensors beside those of the checkpoint. Long filters are computed
// in float64, kept in f32.
import { loadFloat32, type TensorSource, type WeightRef } from "../kernels/tensor_source.ts";
import { DerivedSource, type DerivedTensor, transposed } from "./derived_source.ts";
import {
  type HyenaConfig,
  type HyenaFilterRefs,
  type HyenaLayout,
  type HyenaModalRefs,
  loadHyenaFilter,
} from "./hyena.ts";

export interface HyenaStepRefs {
  /** [taps, 3 width] by lag. */
  readonly shortTaps: WeightRef;
  /** [3 width] */
  readonly shortBias: WeightRef;
  readonly long: HyenaLongRefs | HyenaModalRefs;
}

export interface HyenaLongRefs {
  readonly form: "filter";
  /** [width, contextLength] by lag, with the input's own share in lag 0. */
  readonly filter: WeightRef;
}

export interface DerivedHyena {
  readonly source: TensorSource;
  /** By layer. */
  readonly steps: readonly HyenaStepRefs[];
}

export function deriveHyena(config: HyenaConfig, layout: HyenaLayout, source: TensorSource): DerivedHyena {
  const derived: DerivedTensor[] = [];
  const steps = layout.mixers.map((refs) => {
    const shortTaps = tapsByLag(config, refs.short.weight, source),
      short = { shortTaps, shortBias: refs.short.bias };
    derived.push(shortTaps);
    if (refs.long.form === "modal") return { ...short, long: refs.long };
    const filter = longFilter(config, refs.long, source);
    derived.push(filter);
    return { ...short, long: { form: "filter" as const, filter } };
  });
  return { source: new DerivedSource(source, derived), steps };
}

/** Stored [channels, 1, taps], the newest token's tap last. */
function tapsByLag(
  { width, shortTaps }: HyenaConfig,
  weight: WeightRef,
  source: TensorSource,
): DerivedTensor {
  const channels = 3 * width;
  return {
    name: weight.name.replace(/weight$/, "taps"),
    shape: [shortTaps, channels],
    compute: async () => {
      const byTime = transposed(await loadFloat32(source, weight), shortTaps);
      return byTime.map((_, at) =>
        byTime[(shortTaps - 1 - Math.floor(at / channels)) * channels + at % channels]
      );
    },
  };
}

function longFilter(config: HyenaConfig, refs: HyenaFilterRefs, source: TensorSource): DerivedTensor {
  return {
    name: refs.skip.name.replace(/bias$/, "taps"),
    shape: [config.width, config.contextLength],
    compute: async () => Float32Array.from(await loadHyenaFilter(config, source, refs)),
  };
}
