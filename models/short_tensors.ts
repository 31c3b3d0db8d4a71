// What the kernel reads of a short convolution that a checkpoint keeps as torch's Conv1d, as tensors of its own.
import { tapsByLag } from "../kernels/filters/shift_filter.ts";
import { loadFloat32, type TensorSource, type WeightRef } from "../kernels/tensor_source.ts";
import type { LinearRefs } from "./decoder_layout.ts";
import type { DerivedTensor } from "./derived_source.ts";

/** A short convolution's weights. */
export interface ShortRefs {
  /** [taps, channels] by lag. */
  readonly taps: WeightRef;
  /** [channels] */
  readonly bias: WeightRef;
}

/** Channels [start, end) of what is stored [channels, 1, taps], the newest token's tap last. */
export function shortTensors(
  { weight, bias }: LinearRefs,
  shortTaps: number,
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
      from: [weight],
      compute: async () => {
        const stored = (await loadFloat32(source, weight)).subarray(start * shortTaps, end * shortTaps);
        return tapsByLag(stored, channels, "time");
      },
    },
    bias: {
      name: bias.name.replace(/bias$/, `${part}.bias`),
      shape: [channels],
      from: [bias],
      compute: async () => (await loadFloat32(source, bias)).slice(start, end),
    },
  };
}
