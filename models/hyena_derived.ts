// What kernels read of a Hyena layer's convolutions, as tensors beside those of the checkpoint. Long filters are computed
// in float64, kept in f32.
import { tapsByLag } from "../kernels/filters/shift_filter.ts";
import { loadFloat32, type TensorSource, type WeightRef } from "../kernels/tensor_source.ts";
import type { LinearRefs } from "./decoder_layout.ts";
import { DerivedSource, type DerivedTensor } from "./derived_source.ts";
import {
  type HyenaConfig,
  type HyenaFilterRefs,
  type HyenaLayout,
  type HyenaModalRefs,
  loadHyenaFilter,
} from "./hyena.ts";

/** A short convolution's weights. */
export interface ShortRefs {
  /** [taps, channels] by lag. */
  readonly taps: WeightRef;
  /** [channels] */
  readonly bias: WeightRef;
}

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

export interface DerivedHyena {
  readonly source: TensorSource;
  /** By layer. */
  readonly steps: readonly HyenaStepRefs[];
}

export function deriveHyena(config: HyenaConfig, layout: HyenaLayout, source: TensorSource): DerivedHyena {
  const derived: DerivedTensor[] = [], { width } = config;
  const steps = layout.mixers.map(({ short, long }) => {
    const gates = shortTensors(config, short, source, "gates", 0, 2 * width);
    const values = shortTensors(config, short, source, "values", 2 * width, 3 * width);
    derived.push(gates.taps, gates.bias, values.taps, values.bias);
    if (long.form === "modal") return { gates, values, long };
    const filter = longFilter(config, long, source);
    derived.push(filter);
    return { gates, values, long: { form: "filter" as const, filter } };
  });
  return { source: new DerivedSource(source, derived), steps };
}

/** Channels [start, end) of what is stored [channels, 1, taps], the newest token's tap last. */
function shortTensors(
  { shortTaps }: HyenaConfig,
  { weight, bias }: LinearRefs,
  source: TensorSource,
  part: string,
  start: number,
  end: number,
): { taps: DerivedTensor; bias: DerivedTensor } {
  const channels = end - start;
  return {
    taps: {
      name: weight.name.replace(/weight$/, `${part}.taps`),
      shape: [shortTaps, channels],
      compute: async () => {
        const stored = (await loadFloat32(source, weight)).subarray(start * shortTaps, end * shortTaps);
        return tapsByLag(stored, channels, "time");
      },
    },
    bias: {
      name: bias.name.replace(/bias$/, `${part}.bias`),
      shape: [channels],
      compute: async () => (await loadFloat32(source, bias)).slice(start, end),
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
