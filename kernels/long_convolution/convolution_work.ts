// What the transforms of a long convolution have to do at least.
import type { StepBatch } from "../step.ts";
import type { WorkOf } from "../work.ts";
import type { SizeClass } from "./sizes.ts";

/** How many sequences of a class a step has, and how many tokens these. */
export function classTokens(
  { fewest, most }: SizeClass,
  { queryStart, contextLengths }: StepBatch,
): { sequences: number; tokens: number } {
  let sequences = 0, tokens = 0;
  for (let s = 0; s < contextLengths.length; s++) {
    const length = queryStart[s + 1] - queryStart[s];
    if (length < fewest || length > most) continue;
    sequences++;
    tokens += length;
  }
  return { sequences, tokens };
}

/**
 * Of `channels` channels of the sequences of a class: a spectrum of `spectrumBytes` is read once for each, two complex
 * transforms of `most` points are made, and a product of some 18 operations a point.
 * @param signalBytes of one channel that are read and written
 */
export function convolutionWork(
  size: SizeClass,
  channels: number,
  spectrumBytes: number,
  signalBytes: (sequences: number, tokens: number) => number,
): WorkOf {
  return (batch) => {
    const { sequences, tokens } = classTokens(size, batch);
    return {
      bytes: sequences && channels * (signalBytes(sequences, tokens) + spectrumBytes),
      flop: sequences * channels * size.most * (2 * 5 * Math.log2(size.most) + 18),
      units: "f32",
    };
  };
}
