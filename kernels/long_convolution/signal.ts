// What the dispatches of a long convolution share: rows as channels in working memory, and which rows these are.
import type { StepShape } from "../control.ts";
import type { TableSetUp } from "../gpu_set_up.ts";
import type { KernelCall } from "../gpu_op.ts";
import type { ChannelSlice, SizeClass } from "./sizes.ts";

/** f32 [channels][stride]: channel by channel, a step's rows one after the other. */
export interface Signal {
  readonly buffer: GPUBuffer;
  /** Elements from one channel to the next. */
  readonly stride: number;
}

/** WGSL: which channels a dispatch has, uniform so that all slices share a pipeline. */
export const SLICE_CODE = "struct Slice { firstChannel: u32, numChannels: u32 }";

/** Stretches of the signal that are convolved each by itself. */
export interface Stretches {
  /** Word of the control buffer from which on their first rows are, and the end of the last. */
  readonly starts: number;
  /** Rows of all together at most. */
  readonly room: number;
  /** How many a step has, and the longest. */
  of(shape: StepShape): { readonly count: number; readonly longest: number };
}

/** How many stretches a step has where it may have one of the class; else 0. Of a single one the length is known. */
export function countOf({ fewest, most }: SizeClass, stretches: Stretches, shape: StepShape): number {
  const { count, longest } = stretches.of(shape);
  if (longest < fewest || count === 1 && longest > most) return 0;
  return count;
}

/** What is convolved with the signal. */
export interface Filters {
  readonly name: string;
  /** Channels. */
  readonly width: number;
  readonly taps: number;
  /** Channels whose tables and working memory are bound together at most, where that is decided already. */
  readonly sliceChannels?: number;
  /** Where the spectra of a slice are, and the dispatches of a step that make them there, if there are any. */
  spectra(slice: ChannelSlice, size: SizeClass, bytes: number, setUp: SpectraSetUp): Spectra;
}

/** Makes spectra of a source of taps, `stride` from one filter to the next. */
export type SpectraSetUp = (stride: number) => Pick<TableSetUp, "calls">;

export interface Spectra {
  readonly buffer: GPUBuffer;
  readonly calls: readonly KernelCall[];
}
