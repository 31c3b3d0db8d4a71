// One step of work as typed arrays: what the engine packs and every backend executes. Knows no device and no
// request; a sequence here is a range of rows and a row of the block tables.

/** Tokens per block of the paged KV cache. */
export const BLOCK_SIZE = 16;

/** Most alternatives that a step reports per token. */
export const MAX_TOP_LOGPROBS = 20;

/** What a runner was built to hold; a batch within these limits always runs. */
export interface StepLimits {
  readonly maxTokens: number;
  readonly maxSequences: number;
  readonly maxSamples: number;
  /** Blocks that a sequence of full context length needs. */
  readonly maxBlocksPerSequence: number;
  /** Blocks in the pool; ids are 0 .. numBlocks - 1. */
  readonly numBlocks: number;
  /** Slots in host memory that a block can be parked in; ids are 0 .. numHostBlocks - 1. Without it there are none. */
  readonly numHostBlocks?: number;
  /** Slots for what recurrent layers keep of a sequence; ids are 0 .. numStateSlots - 1. Without it there are none. */
  readonly numStateSlots?: number;
  /** States that a step keeps within its sequences' rows (`keptStates`), at most; 0 without it. */
  readonly maxKeptStates?: number;
}

/**
 * How one token is drawn: temperature, then top-k, min-p and top-p, then a draw from what is left by a counter-based
 * generator, so that a token depends on its request alone and never on its batch.
 */
export interface SamplingParams {
  /** 0 = greedy (lowest id wins a tie). */
  readonly temperature: number;
  /** Keep the k most likely; 0 = all. */
  readonly topK: number;
  /** Keep the most likely until their mass reaches topP; 1 = all. */
  readonly topP: number;
  /** Keep tokens at least minP times as likely as the likeliest; 0 = all. */
  readonly minP: number;
  /** 64-bit seed, as two words. */
  readonly seed: readonly [number, number];
}

/** One token that a step must deliver: the row it follows and how it is chosen. */
export interface SampleRequest {
  readonly row: number;
  readonly params: SamplingParams;
  /** Index of the token in its sequence: the generator's counter. */
  readonly counter: number;
  /** Report the log-probability of the chosen token and of this many alternatives; -1 = none at all. */
  readonly topLogprobs: number;
  /** Score this token instead of drawing one (prompt log-probabilities). */
  readonly target?: number;
  /** Added to single logits before the choice (logit_bias, presence and frequency penalties). */
  readonly adjustments?: readonly { readonly id: number; readonly delta: number }[];
  /**
   * Choose only from these ids, one bit each: see `token_mask.ts`. A target goes before it. Log-probabilities are of all
   * tokens, those that may not be chosen included. At least one that is not suppressed must be allowed.
   */
  readonly allowed?: Uint32Array;
}

/**
 * Copies K and V of all layers: the first `rows` rows of block `from` become those of block `to`. No block of a step
 * is both copied from and copied to.
 */
export interface BlockCopy {
  readonly from: number;
  readonly to: number;
  /** 1 to BLOCK_SIZE */
  readonly rows: number;
}

/** What recurrent layers keep of slot `from` becomes what they keep of slot `to`. */
export interface StateCopy {
  readonly from: number;
  readonly to: number;
}

/** After the first `numRows` of a sequence's rows in a step, but not after the last, its state goes to another slot, too. */
export interface KeptState {
  /** By its number in the step. */
  readonly sequence: number;
  readonly numRows: number;
  /** Of no sequence of the step, nor of another kept state. */
  readonly slot: number;
}

/** Moves K and V of all layers, all rows of a block, from the device to a slot in host memory or back. */
export interface HostMove {
  readonly block: number;
  readonly slot: number;
}

/**
 * What a step moves between device and host. All parks are done first, then all unparks, then the step's copies, then
 * its rows: a park takes what earlier steps left in its block, which this step may use for anything; a slot keeps what
 * it holds until it is parked to again, and may be parked to and brought back in one step. No slot is parked to twice
 * in a step, and no block is unparked to twice.
 */
export interface HostMoves {
  /** From block to slot. */
  readonly parks: readonly HostMove[];
  /** From slot to block. */
  readonly unparks: readonly HostMove[];
}

/** Token ids from here on say which sample of the step before drew the token. */
export const FIRST_DRAWN = 0x8000_0000;

/** In the place of a token id that is not known to the host yet: what that sample of the step before has drawn. */
export function drawnBefore(sample: number): number {
  return FIRST_DRAWN + sample;
}

/** Rows are the new tokens of all sequences, sequence after sequence. */
export interface StepBatch {
  /** Done before any copy. */
  readonly moves?: HostMoves;
  /** Done before any row is computed. */
  readonly copies?: readonly BlockCopy[];
  /** Done one after the other before any row is computed, whose sequences may go on from either. */
  readonly stateCopies?: readonly StateCopy[];
  /** By sequence, and then by row. */
  readonly keptStates?: readonly KeptState[];
  /** [numTokens]; some may be `drawnBefore`, where the runner takes several steps at once */
  readonly tokenIds: Uint32Array;
  /** [numTokens] position in its own sequence */
  readonly positions: Uint32Array;
  /** [numTokens] cache slot of the row's K and V: blockId * BLOCK_SIZE + offset */
  readonly slotMapping: Uint32Array;
  /** [numSequences + 1] first row of each sequence */
  readonly queryStart: Uint32Array;
  /** [numSequences] keys visible to the sequence's last row, itself included */
  readonly contextLengths: Uint32Array;
  /** [numSequences] block ids in order, as many as contextLengths needs */
  readonly blockTables: readonly Uint32Array[];
  /**
   * [numSequences] slot of what recurrent layers keep of the sequence; needed where a graph has such layers. A sequence
   * whose first row in the step has position 0 starts from nothing, whatever its slot holds.
   */
  readonly stateSlots?: Uint32Array;
  readonly samples: readonly SampleRequest[];
  /** Tests and evaluation only: also return the logits of the sampled rows. */
  readonly readLogits?: boolean;
}

export interface TokenScore {
  /** Natural log-probability of the chosen (or target) token, before temperature and truncation. */
  readonly logprob: number;
  /** The likeliest alternatives, best first. */
  readonly top: readonly { readonly id: number; readonly logprob: number }[];
}

export interface StepResult {
  /** [numSamples] */
  readonly tokenIds: Uint32Array;
  /** [numSamples], where asked for */
  readonly scores: readonly (TokenScore | undefined)[];
  /** [numSamples * vocabSize], where asked for */
  readonly logits?: Float32Array;
}

/** @throws {TypeError} when a batch does not name a slot for the recurrent state of each of its sequences */
export function requireStateSlots({ stateSlots, contextLengths }: StepBatch): void {
  if (stateSlots?.length === contextLengths.length) return;
  throw new TypeError(
    "Cannot run step: the model has recurrent layers, so every sequence needs a state slot",
  );
}

/** @throws {RangeError} when a step is to keep more states than it may, or one that is not within a sequence's rows */
export function requireKeptWithin(limits: Pick<StepLimits, "maxKeptStates">, batch: StepBatch): void {
  const { keptStates = [], queryStart } = batch, { maxKeptStates = 0 } = limits;
  if (keptStates.length > maxKeptStates) {
    throw new RangeError(
      `Cannot run step: maxKeptStates must be at most ${maxKeptStates}, received ${keptStates.length}`,
    );
  }
  for (const { sequence, numRows } of keptStates) {
    const most = queryStart[sequence + 1] - queryStart[sequence] - 1;
    if (numRows >= 1 && numRows <= most) continue;
    throw new RangeError(
      `Cannot run step: a state must be kept after 1 to ${most} rows of sequence ${sequence}, received ${numRows}`,
    );
  }
}

/** @throws {RangeError} when a model with recurrent layers has no slots for their states */
export function requireRoomForStates(numStateSlots: number): number {
  if (numStateSlots > 0) return numStateSlots;
  throw new RangeError("Cannot load model: it has recurrent layers, so numStateSlots must be at least 1");
}
