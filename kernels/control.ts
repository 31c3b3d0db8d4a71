// The control buffer: everything the host tells the GPU about a step, written by one copy and read by every kernel.
// A `StepBatch` in u32 words at offsets that are fixed when the plan is made, so kernels have them as constants.
import { MOST_TRANSFORMS, type OnlineShape, type OnlineStep } from "./convolution_history/online_sums.ts";
import {
  ONLINE_TILE_WORDS,
  packSums,
  packTransforms,
  TRANSFORM_WORDS,
} from "./convolution_history/pack_sums.ts";
import { MAX_MASKS } from "./sampling/token_mask.ts";
import {
  BLOCK_SIZE,
  requireKeptWithin,
  type SampleRequest,
  type StepBatch,
  type StepLimits,
} from "./step.ts";

/** Words per sample record; see `packSample`. */
const SAMPLE_WORDS = 16;
/** Words per attention tile: sequence, first row, number of rows (tokens), unused. */
export const TILE_WORDS = 4;
/** `target` of a sample that is to be drawn. */
export const NO_TARGET = 0xffffffff;
/** `mask` of a sample that may choose any token. */
export const NO_MASK = 0xffffffff;
/** Most logit adjustments in one step, all samples together. */
export const MAX_ADJUSTMENTS = 4096;

const KEPT_STATE_WORDS = 2;

const HEADER_WORDS = 16;

/**
 * Word offsets into the control buffer. The header is [numTokens, numSequences, numSamples, numTiles, numAdjustments,
 * numOnlineTiles, numKeptStates].
 */
export interface ControlLayout {
  readonly limits: StepLimits;
  /** Tokens of one sequence that an attention tile covers at most. */
  readonly tileTokens: number;
  readonly tokenIds: number;
  readonly positions: number;
  readonly slotMapping: number;
  /** Index of the sequence that a row belongs to. */
  readonly rowSequence: number;
  readonly queryStart: number;
  readonly contextLengths: number;
  /** Slot of a sequence's recurrent state. */
  readonly stateSlots: number;
  /** Records of 2 words by row: the last row before a state that is kept, and the slot that it goes to. */
  readonly keptStates: number;
  readonly tiles: number;
  readonly samples: number;
  /** [numSequences][maxBlocksPerSequence] */
  readonly blockTables: number;
  /** Where the online sums of a sequence are kept. */
  readonly onlinePlaces: number;
  /** Records of 4 words, for BLOCK_SIZE outputs each: first and last input, first output, sequence and whether to add. */
  readonly onlineTiles: number;
  /** [transforms + 1]: where each begins among the rows of all, and the end of the last. */
  readonly transformStarts: number;
  /** Records of 8 words: first input, end of the inputs, first output, end of the outputs, sequence and whether to add. */
  readonly transforms: number;
  /** Records of 4 words: sample, token id, delta as f32 bits, unused. Last, as most steps have none to send. */
  readonly adjustments: number;
  readonly words: number;
}

/** @param online where long convolutions are summed online */
export function controlLayout(
  limits: StepLimits,
  tileTokens: number,
  online?: Pick<OnlineShape, "window" | "transforms">,
): ControlLayout {
  let next = HEADER_WORDS;
  const take = (words: number) => {
    const offset = next;
    next += Math.ceil(words / 4) * 4;
    return offset;
  };
  const { maxTokens, maxSequences, maxSamples, maxBlocksPerSequence, maxKeptStates = 0 } = limits;
  return {
    limits,
    tileTokens,
    tokenIds: take(maxTokens),
    positions: take(maxTokens),
    slotMapping: take(maxTokens),
    rowSequence: take(maxTokens),
    queryStart: take(maxSequences + 1),
    contextLengths: take(maxSequences),
    stateSlots: take(maxSequences),
    keptStates: take(maxKeptStates * KEPT_STATE_WORDS),
    onlinePlaces: take(online ? maxSequences : 0),
    transformStarts: take(online?.transforms ? MOST_TRANSFORMS + 1 : 0),
    transforms: take(online?.transforms ? MOST_TRANSFORMS * TRANSFORM_WORDS : 0),
    tiles: take((maxSequences + Math.ceil(maxTokens / tileTokens)) * TILE_WORDS),
    samples: take(maxSamples * SAMPLE_WORDS),
    blockTables: take(maxSequences * maxBlocksPerSequence),
    // In a step no output of a window is summed for twice.
    onlineTiles: take(online ? maxSequences * (online.window / BLOCK_SIZE) * ONLINE_TILE_WORDS : 0),
    adjustments: take(MAX_ADJUSTMENTS * 4),
    words: next,
  };
}

/** The layout as WGSL constants, for the head of every kernel that reads the control buffer. */
export function controlConstants(layout: ControlLayout): Record<string, number> {
  return {
    NUM_TOKENS: 0,
    NUM_SEQUENCES: 1,
    NUM_SAMPLES: 2,
    NUM_TILES: 3,
    NUM_ADJUSTMENTS: 4,
    TOKEN_IDS: layout.tokenIds,
    POSITIONS: layout.positions,
    SLOT_MAPPING: layout.slotMapping,
    ROW_SEQUENCE: layout.rowSequence,
    QUERY_START: layout.queryStart,
    CONTEXT_LENGTHS: layout.contextLengths,
    STATE_SLOTS: layout.stateSlots,
    NUM_KEPT_STATES: 6,
    KEPT_STATES: layout.keptStates,
    KEPT_STATE_WORDS,
    TILES: layout.tiles,
    TILE_WORDS,
    SAMPLES: layout.samples,
    SAMPLE_WORDS,
    NUM_ONLINE_TILES: 5,
    ONLINE_PLACES: layout.onlinePlaces,
    TRANSFORM_STARTS: layout.transformStarts,
    TRANSFORMS: layout.transforms,
    TRANSFORM_WORDS,
    ONLINE_TILES: layout.onlineTiles,
    ADJUSTMENTS: layout.adjustments,
    BLOCK_TABLES: layout.blockTables,
    BLOCK_TABLE_STRIDE: layout.limits.maxBlocksPerSequence,
    BLOCK_SIZE,
  };
}

/** Tokens up to which a context is short: there the splits of its attention are few enough for a reader to join them. */
const SHORT_CONTEXT = 1024;

/** The sizes that decide a step's grids. */
export interface StepShape {
  readonly numTokens: number;
  readonly numSequences: number;
  readonly numSamples: number;
  readonly numTiles: number;
  /** Most new tokens of one sequence; 1 when the step only decodes. */
  readonly maxQueryLength: number;
  readonly maxContextLength: number;
  /** Whether that is more than SHORT_CONTEXT. */
  readonly hasLongContext: boolean;
  readonly numAdjustments: number;
  /** Blocks of outputs that long convolutions are summed for before the step's rows. */
  readonly numOnlineTiles: number;
  /** States that are kept within a sequence's rows. */
  readonly numKeptStates: number;
  /** Sums that long convolutions make by transforms, and the positions of the longest, up to a power of two. */
  readonly numTransforms: number;
  readonly longestTransform: number;
  /** Whether any sample wants log-probabilities. */
  readonly wantsScores: boolean;
  /** Whether any sample has a temperature above 0. */
  readonly wantsRandom: boolean;
}

/** A range of the control buffer's words. */
export interface WordRange {
  readonly first: number;
  readonly count: number;
}

/**
 * Packs a batch into `words` (at least `layout.words` long) and returns its shape and the ranges of words in use.
 * @param online what long convolutions sum before the batch's rows
 * @throws {RangeError} when the batch exceeds the layout's limits.
 */
export function packControl(
  layout: ControlLayout,
  batch: StepBatch,
  words: Uint32Array,
  online?: OnlineStep,
): { shape: StepShape; used: WordRange[] } {
  const numTokens = batch.tokenIds.length;
  const numSequences = batch.contextLengths.length;
  const numSamples = batch.samples.length;
  const numMasked = batch.samples.filter(({ allowed }) => allowed).length;
  checkLimits(layout.limits, numTokens, numSequences, numSamples, numMasked);
  requireKeptWithin(layout.limits, batch);
  packRows(words, layout, batch);
  const { numTiles, maxQueryLength, maxContextLength } = packSequences(words, layout, batch);
  const numAdjustments = packSamples(words, layout, batch.samples);
  if (online) words.set(online.places, layout.onlinePlaces);
  const longestTransform = online ? packTransforms(words, layout, online.transforms) : 0;
  const numOnlineTiles = packSums(words, layout.onlineTiles, online?.sums ?? []);
  const numKeptStates = batch.keptStates?.length ?? 0;
  const header = [
    numTokens,
    numSequences,
    numSamples,
    numTiles,
    numAdjustments,
    numOnlineTiles,
    numKeptStates,
  ];
  words.set(header, 0);
  const shape: StepShape = {
    numTokens,
    numSequences,
    numSamples,
    numTiles,
    maxQueryLength,
    maxContextLength,
    hasLongContext: maxContextLength > SHORT_CONTEXT,
    numAdjustments,
    numOnlineTiles,
    numKeptStates,
    numTransforms: online?.transforms.length ?? 0,
    longestTransform: longestTransform && 2 ** Math.ceil(Math.log2(longestTransform)),
    wantsScores: batch.samples.some((s) => s.topLogprobs >= 0),
    wantsRandom: batch.samples.some((s) => s.params.temperature > 0 && s.target === undefined),
  };
  const used = [{ first: 0, count: layout.blockTables + numSequences * layout.limits.maxBlocksPerSequence }];
  if (numOnlineTiles > 0) {
    used.push({ first: layout.onlineTiles, count: numOnlineTiles * ONLINE_TILE_WORDS });
  }
  if (numAdjustments > 0) used.push({ first: layout.adjustments, count: numAdjustments * 4 });
  return { shape, used };
}

function packRows(words: Uint32Array, layout: ControlLayout, batch: StepBatch) {
  words.set(batch.tokenIds, layout.tokenIds);
  words.set(batch.positions, layout.positions);
  words.set(batch.slotMapping, layout.slotMapping);
  words.set(batch.queryStart, layout.queryStart);
  words.set(batch.contextLengths, layout.contextLengths);
  if (batch.stateSlots) words.set(batch.stateSlots, layout.stateSlots);
  batch.keptStates?.forEach(({ sequence, numRows, slot }, index) => {
    const lastRow = batch.queryStart[sequence] + numRows - 1;
    words.set([lastRow, slot], layout.keptStates + index * KEPT_STATE_WORDS);
  });
}

/** Whose each row is, the tiles of rows, and where each sequence's blocks are. */
function packSequences(words: Uint32Array, layout: ControlLayout, batch: StepBatch) {
  let numTiles = 0, maxQueryLength = 0, maxContextLength = 0;
  batch.contextLengths.forEach((contextLength, s) => {
    const start = batch.queryStart[s], end = batch.queryStart[s + 1];
    words.fill(s, layout.rowSequence + start, layout.rowSequence + end);
    for (let row = start; row < end; row += layout.tileTokens) {
      const rows = Math.min(layout.tileTokens, end - row);
      words.set([s, row, rows, 0], layout.tiles + numTiles++ * TILE_WORDS);
    }
    maxQueryLength = Math.max(maxQueryLength, end - start);
    maxContextLength = Math.max(maxContextLength, contextLength);
    words.set(batch.blockTables[s], layout.blockTables + s * layout.limits.maxBlocksPerSequence);
  });
  return { numTiles, maxQueryLength, maxContextLength };
}

/** @returns how many adjustments there are: no more than there is room for */
function packSamples(words: Uint32Array, layout: ControlLayout, samples: readonly SampleRequest[]): number {
  let numAdjustments = 0, numMasks = 0;
  samples.forEach((sample, index) => {
    packSample(words, layout.samples + index * SAMPLE_WORDS, sample, sample.allowed ? numMasks++ : NO_MASK);
    for (const { id, delta } of sample.adjustments ?? []) {
      if (numAdjustments === MAX_ADJUSTMENTS) break;
      const record = [index, id, floatBits(delta), 0];
      words.set(record, layout.adjustments + numAdjustments++ * 4);
    }
  });
  return numAdjustments;
}

/** Words: row, temperature, topK, topP, minP, seed low, seed high, counter, topLogprobs (as i32), target, mask. */
function packSample(words: Uint32Array, at: number, sample: SampleRequest, mask: number) {
  const { params } = sample;
  words[at] = sample.row;
  words[at + 1] = floatBits(params.temperature);
  words[at + 2] = params.topK;
  words[at + 3] = floatBits(params.topP);
  words[at + 4] = floatBits(params.minP);
  words[at + 5] = params.seed[0];
  words[at + 6] = params.seed[1];
  words[at + 7] = sample.counter;
  words[at + 8] = sample.topLogprobs >>> 0;
  words[at + 9] = sample.target ?? NO_TARGET;
  words[at + 10] = mask;
}

const scratch = new DataView(new ArrayBuffer(4));

/** The bits of `value` as an f32. */
export function floatBits(value: number): number {
  scratch.setFloat32(0, value);
  return scratch.getUint32(0);
}

function checkLimits(limits: StepLimits, tokens: number, sequences: number, samples: number, masks: number) {
  for (
    const [name, got, most] of [
      ["maxTokens", tokens, limits.maxTokens],
      ["maxSequences", sequences, limits.maxSequences],
      ["maxSamples", samples, limits.maxSamples],
      ["masks", masks, MAX_MASKS],
    ] as const
  ) {
    if (got > most) throw new RangeError(`Cannot run step: ${name} must be at most ${most}, received ${got}`);
  }
}
