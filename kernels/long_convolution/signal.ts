// What the dispatches of a long convolution share: the step's rows as channels in working memory.
import type { StepShape } from "../control.ts";
import type { SizeClass } from "./sizes.ts";

/** f32 [channels][stride]: channel by channel, a step's rows one after the other. */
export interface Signal {
  readonly buffer: GPUBuffer;
  /** Elements from one channel to the next. */
  readonly stride: number;
}

/** WGSL: which channels a dispatch has, uniform so that all slices share a pipeline. */
export const SLICE_CODE = "struct Slice { firstChannel: u32, numChannels: u32 }";

/** Whether a step may have a sequence of the class. Of a single sequence the length is known. */
export function mayHave({ fewest, most }: SizeClass, { maxQueryLength, numSequences }: StepShape): boolean {
  if (numSequences === 0 || maxQueryLength < fewest) return false;
  return numSequences > 1 || maxQueryLength <= most;
}
