// The sizes of transform that a plan has ready: a sequence takes the smallest that holds its rows. Every size costs
// pipelines, spectra, and a dispatch in steps of several sequences, so they lie further apart where the work is small.
import { BLOCK_SIZE, type StepLimits } from "../step.ts";

/** Convolutions of `fewest` to `most` tokens, by real transforms of twice `most` points. */
export interface SizeClass {
  readonly fewest: number;
  readonly most: number;
}

const SMALLEST = 64;
/** Up to here sizes are four times apart, above it twice. */
const MOST_COARSE = 1024;

/** The longest that a sequence's rows in one step can be. */
export function mostQueryLength({ maxTokens, maxBlocksPerSequence }: StepLimits): number {
  return Math.min(maxTokens, maxBlocksPerSequence * BLOCK_SIZE);
}

/** From the smallest on; the last holds `mostTokens`. */
export function sizeClasses(mostTokens: number): SizeClass[] {
  const sizes = [Math.max(SMALLEST, 2 ** Math.ceil(Math.log2(mostTokens)))];
  while (sizes[0] > SMALLEST) {
    sizes.unshift(Math.max(SMALLEST, sizes[0] / (sizes[0] > MOST_COARSE ? 2 : 4)));
  }
  return sizes.map((most, i) => ({ fewest: i > 0 ? sizes[i - 1] + 1 : 1, most }));
}

/** Channels [first, first + count) of a node, whose tables or working memory fit a binding. */
export interface ChannelSlice {
  readonly first: number;
  readonly count: number;
}

/** @throws {RangeError} when not even one channel fits */
export function channelSlices(
  channels: number,
  bytesPerChannel: number,
  mostBytes: number,
  mostChannels = Infinity,
): ChannelSlice[] {
  const fitting = Math.min(mostChannels, Math.floor(mostBytes / bytesPerChannel));
  if (fitting < 1) {
    throw new RangeError(
      `Cannot lower graph: a channel of a long convolution takes ${bytesPerChannel} bytes, more than this adapter can bind (${mostBytes}); lower --max-batch-tokens`,
    );
  }
  const slices: ChannelSlice[] = [];
  for (let first = 0; first < channels; first += fitting) {
    slices.push({ first, count: Math.min(fitting, channels - first) });
  }
  return slices;
}
