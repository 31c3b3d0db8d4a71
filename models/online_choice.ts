// Whether exact long convolutions sum ahead of time what earlier tokens add to single ones, and in windows of how many
// positions: by how long texts can get, and by the memory that there is.
import type { OnlineShapeWanted } from "../kernels/convolution_history/online_sums.ts";
import type { Graph } from "../kernels/graph.ts";
import type { LongConvolutions } from "./runner.ts";

export type LongConvolutionForm = "direct" | "online";

/**
 * From so many positions on squares pay: on a CPU, and on an H200 for one sequence and for 64, they were faster at every
 * length that was measured, from there on (docs/performance.md).
 */
const FEWEST_POSITIONS = 1024;
/** Inputs of the smallest square. */
const SQUARE = 64;
/** Windows of a text of full length. */
const WINDOWS = 16;
/**
 * Products of inputs and taps that take the time of one position of a transform, with the spectrum of its filter: estimated
 * for a GPU that transforms at the speed of its memory and multiplies 30 times as fast.
 */
const TRANSFORMS_WORTH = 1000;
/** Of the memory for contexts what kept sums may take. */
const MEMORY_SHARE = 1 / 8;

export interface OnlineLimits {
  readonly contextLength: number;
  readonly maxSequences: number;
  /** For contexts and kept sums together. */
  readonly kvBytes: number;
  /** What contexts need of that at least. */
  readonly leastBytes: number;
  /** Most bytes of a layer's sums, where there is a limit. */
  readonly maxBindingBytes?: number;
}

/**
 * Undefined: directly, when a sum is wanted; so it is where there are no such layers, and where memory is scarce.
 * @param wanted instead of what the context's length decides
 */
export function chooseOnline(
  graph: Graph,
  { contextLength, maxSequences, kvBytes, leastBytes, maxBindingBytes = Infinity }: OnlineLimits,
  wanted?: LongConvolutionForm,
): OnlineShapeWanted | undefined {
  const positionBytes = onlineBytes(graph, { window: 1 }, maxSequences);
  const form = wanted ?? (contextLength < FEWEST_POSITIONS ? "direct" : "online");
  if (positionBytes === 0 || form === "direct") return undefined;
  const widest = Math.max(...graph.historyLayers.map(({ width }) => width));
  const affordable = Math.min(
    Math.min(kvBytes * MEMORY_SHARE, kvBytes - leastBytes) / positionBytes,
    maxBindingBytes / (4 * widest * maxSequences),
  );
  const squares = Math.floor(Math.min(affordable, Math.max(2 * SQUARE, contextLength / WINDOWS)) / SQUARE);
  if (squares < 2) return undefined;
  const window = SQUARE * 2 ** Math.floor(Math.log2(squares));
  // No sum of a narrower window has as many products; transforms would take the memory of the filters once more.
  return { window, square: SQUARE, ...(window > TRANSFORMS_WORTH && { transformsWorth: TRANSFORMS_WORTH }) };
}

/** What a runner says of it; undefined where the model has no such layers. */
export function longConvolutionsOf(
  { historyLayers }: Graph,
  online: OnlineShapeWanted | undefined,
): LongConvolutions | undefined {
  if (historyLayers.length === 0) return undefined;
  return online ? { form: "online", window: online.window } : { form: "direct" };
}

/** What kept sums take: f32, for every sequence that runs. */
export function onlineBytes(
  { historyLayers }: Graph,
  { window }: Pick<OnlineShapeWanted, "window">,
  maxSequences: number,
): number {
  return historyLayers.reduce((sum, { width }) => sum + 4 * width * window * maxSequences, 0);
}
