// What kernels read of a Hyena layer's convolutions, as tensors beside those of the checkpoint. Long filters are computed
// in float64, kept in f32.
import type { TensorSource } from "../kernels/tensor_source.ts";
import { weightRefsOf } from "./decoder_layout.ts";
import { DerivedSource, type DerivedTensor } from "./derived_source.ts";
import { type HyenaConfig, type HyenaFilterRefs, type HyenaLayout, loadHyenaFilter } from "./hyena.ts";
import type { HyenaStepRefs } from "./hyena_operator.ts";
import { shortTensors } from "./short_tensors.ts";

export interface DerivedHyena {
  readonly source: TensorSource;
  /** By layer. */
  readonly steps: readonly HyenaStepRefs[];
}

export function deriveHyena(config: HyenaConfig, layout: HyenaLayout, source: TensorSource): DerivedHyena {
  const derived: DerivedTensor[] = [], { width } = config;
  const steps = layout.mixers.map(({ short, long }) => {
    const gates = shortTensors(short, config.shortTaps, source, "gates", 0, 2 * width);
    const values = shortTensors(short, config.shortTaps, source, "values", 2 * width, 3 * width);
    derived.push(gates.taps, gates.bias, values.taps, values.bias);
    if (long.form === "modal") return { gates, values, long };
    const filter = longFilter(config, long, source);
    derived.push(filter);
    return { gates, values, long: { form: "filter" as const, filter } };
  });
  return { source: new DerivedSource(source, derived), steps };
}

function longFilter(config: HyenaConfig, refs: HyenaFilterRefs, source: TensorSource): DerivedTensor {
  return {
    name: refs.skip.name.replace(/bias$/, "taps"),
    shape: [config.width, config.contextLength],
    from: weightRefsOf(refs),
    compute: async () => Float32Array.from(await loadHyenaFilter(config, source, refs)),
  };
}
