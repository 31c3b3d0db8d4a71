// What the host tells the CPU kernels about a step: a `StepBatch` in the header and in arrays whose places were taken
// when the plan was made.
import type { CpuArena } from "./cpu_arena.ts";
import {
  BLOCK_TABLES,
  CONTEXT_LENGTHS,
  MAX_BLOCKS,
  NUM_ONLINE_SUMS,
  NUM_SAMPLES,
  NUM_SEQUENCES,
  NUM_TOKENS,
  ONLINE_PLACES,
  ONLINE_SUM_BYTES,
  ONLINE_SUMS,
  POSITIONS,
  QUERY_START,
  SAMPLE_ROWS,
  SLOT_MAPPING,
  STATE_SLOTS,
  TOKEN_IDS,
} from "./cpu_layout.ts";
import { mostSums, type OnlineShape, type OnlineStep } from "./convolution_history/online_sums.ts";
import { BLOCK_SIZE, type StepBatch, type StepLimits } from "./step.ts";

export class CpuStep {
  readonly #limits: StepLimits;
  /** Header field -> address of the array it points to. */
  readonly #arrays: Readonly<Record<number, number>>;
  readonly #mostSums: number;
  #words: Uint32Array<ArrayBufferLike> = new Uint32Array();

  constructor(limits: StepLimits, arena: CpuArena, online?: OnlineShape) {
    this.#limits = limits;
    this.#mostSums = online ? limits.maxSequences * mostSums(online) : 0;
    const { maxTokens, maxSequences, maxSamples, maxBlocksPerSequence } = limits;
    const take = (words: number) => arena.take(words * 4);
    this.#arrays = {
      [TOKEN_IDS]: take(maxTokens),
      [POSITIONS]: take(maxTokens),
      [SLOT_MAPPING]: take(maxTokens),
      [QUERY_START]: take(maxSequences + 1),
      [CONTEXT_LENGTHS]: take(maxSequences),
      [STATE_SLOTS]: take(maxSequences),
      [BLOCK_TABLES]: take(maxSequences * maxBlocksPerSequence),
      [SAMPLE_ROWS]: take(maxSamples),
      [ONLINE_PLACES]: take(maxSequences),
      [ONLINE_SUMS]: take(this.#mostSums * ONLINE_SUM_BYTES / 4),
    };
  }

  /** Writes what stays the same for all steps: the arrays' addresses and `fields`. */
  attach(memory: ArrayBufferLike, fields: Readonly<Record<number, number>>): void {
    this.#words = new Uint32Array(memory);
    const { maxBlocksPerSequence } = this.#limits;
    for (
      const [field, value] of Object.entries({
        ...this.#arrays,
        ...fields,
        [MAX_BLOCKS]: maxBlocksPerSequence,
      })
    ) this.#words[Number(field) / 4] = value;
  }

  /**
   * @param online what long convolutions sum before the batch's rows
   * @throws {RangeError} when the batch exceeds the limits
   */
  write(batch: StepBatch, online?: OnlineStep): void {
    this.#check(batch);
    const words = this.#words;
    words[NUM_TOKENS / 4] = batch.tokenIds.length;
    words[NUM_SEQUENCES / 4] = batch.blockTables.length;
    words[NUM_SAMPLES / 4] = batch.samples.length;
    this.#set(TOKEN_IDS, batch.tokenIds);
    this.#set(POSITIONS, batch.positions);
    this.#set(SLOT_MAPPING, batch.slotMapping);
    this.#set(QUERY_START, batch.queryStart);
    this.#set(CONTEXT_LENGTHS, batch.contextLengths);
    if (batch.stateSlots) this.#set(STATE_SLOTS, batch.stateSlots);
    this.#set(SAMPLE_ROWS, Uint32Array.from(batch.samples, ({ row }) => row));
    if (online) this.#writeOnline(online);
    batch.blockTables.forEach((table, i) => {
      const numBlocks = Math.ceil(batch.contextLengths[i] / BLOCK_SIZE);
      this.#set(BLOCK_TABLES, table.subarray(0, numBlocks), i * this.#limits.maxBlocksPerSequence);
    });
  }

  #writeOnline({ sums, places }: OnlineStep): void {
    this.#words[NUM_ONLINE_SUMS / 4] = sums.length;
    this.#set(ONLINE_PLACES, places);
    sums.forEach(({ sequence, firstInput, endInput, firstOutput, endOutput, adds }, i) => {
      const record = Uint32Array.of(sequence, firstInput, endInput, firstOutput, endOutput, adds ? 1 : 0);
      this.#set(ONLINE_SUMS, record, i * ONLINE_SUM_BYTES / 4);
    });
  }

  #set(field: number, values: Uint32Array, at = 0): void {
    this.#words.set(values, this.#arrays[field] / 4 + at);
  }

  #check(batch: StepBatch): void {
    const { maxTokens, maxSequences, maxSamples, maxBlocksPerSequence } = this.#limits;
    requireAtMost("tokens", batch.tokenIds.length, maxTokens);
    requireAtMost("sequences", batch.blockTables.length, maxSequences);
    requireAtMost("samples", batch.samples.length, maxSamples);
    for (const length of batch.contextLengths) {
      requireAtMost("context tokens", length, maxBlocksPerSequence * BLOCK_SIZE);
    }
  }
}

function requireAtMost(what: string, count: number, most: number): void {
  if (count > most) throw new RangeError(`Cannot run step: it may have ${most} ${what}, received ${count}`);
}
