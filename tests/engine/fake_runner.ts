// A runner whose next token is a hash of the tokens that a sequence can see, read back through the slots and block
// tables it was given. Wrong paging, a stale or a foreign block, a row out of order: each gives an error or another
// token, as it would on a device. With state slots, so does a state that is not that of the row before.
import type { ModelRunner } from "../../models/runner.ts";
import {
  BLOCK_SIZE,
  FIRST_DRAWN,
  type SampleRequest,
  type StepBatch,
  type StepLimits,
  type StepResult,
  type TokenScore,
} from "../../kernels/step.ts";
import { hasToken } from "../../kernels/sampling/token_mask.ts";
import type { OnlineShape } from "../../kernels/convolution_history/online_sums.ts";
import { DeviceLostError } from "../../device/device_lost_error.ts";
import { KeptSums } from "./kept_sums.ts";

interface Slot {
  readonly id: number;
  readonly position: number;
  /** Hash of all tokens up to this one, as its writer saw them. */
  readonly chain: number;
}

/** Chooses the token that follows `visible`; undefined: the hash does. */
export type NextToken = (visible: readonly number[], sample: SampleRequest) => number | undefined;

export interface FakeRunnerOptions {
  readonly limits?: Partial<StepLimits>;
  readonly vocabSize?: number;
  readonly next?: NextToken;
  /** Awaited at the start of every step: lets a test hold or fail it. */
  readonly beforeStep?: (batch: StepBatch) => Promise<void> | void;
  /** Default: 2; tests that count steps, or hold them one by one, say 1. */
  readonly stepsInFlight?: number;
  /** Also checks what long convolutions would keep. */
  readonly online?: OnlineShape;
}

export const FAKE_LIMITS: StepLimits = {
  maxTokens: 24,
  maxSequences: 4,
  maxSamples: 8,
  maxBlocksPerSequence: 8,
  numBlocks: 20,
};

export class FakeRunner implements ModelRunner {
  readonly limits: StepLimits;
  readonly kvBytesPerBlock = 4096;
  readonly stateBytes: number;
  readonly stepsInFlight: number;
  readonly lost: Promise<string>;
  steps = 0;
  /** Rows computed over all steps. */
  rows = 0;
  /** Rows copied from block to block over all steps. */
  copiedRows = 0;
  /** Copies of states over all steps. */
  stateCopies = 0;
  /** States kept within rows over all steps. */
  keptStates = 0;
  /** Blocks parked, and brought back, over all steps. */
  parks = 0;
  unparks = 0;
  disposed = false;
  readonly keptSums: KeptSums | undefined;
  readonly #vocabSize: number;
  readonly #options: FakeRunnerOptions;
  readonly #slots: (Slot | undefined)[];
  /** By state slot, the last row that its sequence computed. */
  readonly #states: (Slot | undefined)[] = [];
  /** Rows by slot in host memory. */
  readonly #parked: (Slot | undefined)[][] = [];
  readonly #lose: (reason: string) => void;
  #isLost = false;
  #underWay = 0;
  /** Steps that began before the tokens were known that they follow. */
  ahead = 0;
  /** Settles when the step before has. */
  #before: Promise<unknown> = Promise.resolve();
  #drawn: Uint32Array = new Uint32Array();

  constructor(options: FakeRunnerOptions = {}) {
    this.limits = { ...FAKE_LIMITS, ...options.limits };
    this.#vocabSize = options.vocabSize ?? 300;
    this.#options = options;
    this.stepsInFlight = options.stepsInFlight ?? 2;
    this.stateBytes = this.limits.numStateSlots ? 512 : 0;
    if (options.online) this.keptSums = new KeptSums(options.online, this.limits);
    this.#slots = new Array(this.limits.numBlocks * BLOCK_SIZE);
    const { promise, resolve } = Promise.withResolvers<string>();
    this.lost = promise;
    this.#lose = resolve;
  }

  /** The device goes away: now, and with it every later step. */
  loseDevice(reason = "test") {
    this.#isLost = true;
    this.#lose(reason);
  }

  async step(batch: StepBatch): Promise<StepResult> {
    if (++this.#underWay > this.stepsInFlight) throw new Error(`${this.#underWay} steps are under way`);
    const step = this.#before.then(() => this.#runStep(batch));
    this.#before = step.catch(() => {});
    try {
      return await step;
    } finally {
      this.#underWay--;
    }
  }

  async #runStep(batch: StepBatch): Promise<StepResult> {
    await this.#options.beforeStep?.(batch);
    if (this.#isLost) throw new DeviceLostError("device lost: test");
    return this.stepSync(batch);
  }

  stepSync(batch: StepBatch): StepResult {
    this.#checkLimits(batch);
    this.steps++;
    this.rows += batch.tokenIds.length;
    if (batch.tokenIds.some((id) => id >= FIRST_DRAWN)) this.ahead++;
    this.#move(batch);
    this.#copy(batch);
    this.#copyStates(batch);
    const sequenceOfRow = this.#write(batch);
    this.#writeStates(batch);
    this.keptSums?.step(batch, (sequence, end) => this.#read(batch, sequence, end).reduce(hash, 0));
    const scores: (TokenScore | undefined)[] = [];
    const tokenIds = batch.samples.map((sample) => {
      const sequence = sequenceOfRow[sample.row];
      const visible = this.#read(batch, sequence, batch.positions[sample.row] + 1);
      this.#checkState(batch, sequence, visible);
      const id = sample.target ?? this.#choose(visible, sample);
      scores.push(this.#score(visible, id, sample.topLogprobs));
      return id;
    });
    this.#drawn = Uint32Array.from(tokenIds);
    return { tokenIds: this.#drawn, scores };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true;
    this.#lose("disposed");
    return Promise.resolve();
  }

  #move({ moves = { parks: [], unparks: [] } }: StepBatch) {
    const { parks, unparks } = moves, { numHostBlocks = 0 } = this.limits;
    if (new Set(parks.map(({ slot }) => slot)).size < parks.length) {
      throw new Error("A slot is parked to twice");
    }
    for (const { block, slot } of parks) {
      if (slot >= numHostBlocks) throw new RangeError(`There is no slot ${slot}`);
      this.#parked[slot] = this.#slots.slice(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE);
      if (!this.#parked[slot][0]) throw new Error(`Block ${block} is parked, but was never written`);
    }
    const targets = new Set(unparks.map(({ block }) => block));
    if (targets.size < unparks.length) throw new Error("A block is unparked to twice");
    for (const { block, slot } of unparks) {
      const rows = this.#parked[slot];
      if (!rows) throw new Error(`Slot ${slot} is brought back, but was never parked to`);
      for (let i = 0; i < BLOCK_SIZE; i++) this.#slots[block * BLOCK_SIZE + i] = rows[i];
    }
    this.parks += parks.length;
    this.unparks += unparks.length;
  }

  #copy({ copies = [] }: StepBatch) {
    const sources = new Set(copies.map(({ from }) => from));
    for (const { from, to, rows } of copies) {
      if (sources.has(to)) throw new Error(`Block ${to} is copied from and to`);
      if (!(rows >= 1 && rows <= BLOCK_SIZE)) throw new RangeError(`A copy of ${rows} rows`);
      for (let i = 0; i < rows; i++) {
        const slot = this.#slots[from * BLOCK_SIZE + i];
        if (!slot) throw new Error(`Row ${i} of block ${from} is copied, but was never written`);
        this.#slots[to * BLOCK_SIZE + i] = slot;
      }
      this.copiedRows += rows;
    }
  }

  #copyStates({ stateCopies = [] }: StepBatch) {
    const { numStateSlots = 0 } = this.limits;
    for (const { from, to } of stateCopies) {
      if (!(from < numStateSlots && to < numStateSlots)) {
        throw new RangeError("A copy of a state that is not there");
      }
      if (from === to) throw new Error(`State slot ${from} is copied to itself`);
      if (!this.#states[from]) throw new Error(`State slot ${from} is copied, but was never written`);
      this.#states[to] = this.#states[from];
    }
    this.stateCopies += stateCopies.length;
  }

  /** Writes every row's slot, in order, each on top of the chain that its sequence's table shows. */
  #write(batch: StepBatch): number[] {
    const sequenceOfRow: number[] = [];
    const written = new Set<number>();
    for (let s = 0; s < batch.contextLengths.length; s++) {
      const table = batch.blockTables[s];
      for (let row = batch.queryStart[s]; row < batch.queryStart[s + 1]; row++) {
        const position = batch.positions[row];
        const slot = slotOf(table, position);
        if (slot !== batch.slotMapping[row]) throw new Error(`Row ${row} writes outside its block table`);
        if (written.has(slot)) throw new Error(`Slot ${slot} is written twice in one step`);
        written.add(slot);
        const before = position === 0 ? 0 : this.#slots[slotOf(table, position - 1)]?.chain;
        if (before === undefined) throw new Error(`Row ${row} follows a slot that was never written`);
        const id = this.#tokenOf(batch.tokenIds[row]);
        this.#slots[slot] = { id, position, chain: hash(before, id) };
        sequenceOfRow.push(s);
      }
      const last = batch.positions[batch.queryStart[s + 1] - 1];
      if (batch.contextLengths[s] !== last + 1) throw new Error(`Sequence ${s} has a wrong context length`);
    }
    return sequenceOfRow;
  }

  /** @returns of a sequence's row, the slots that the state after it goes to as well */
  #keptAfter({ keptStates = [], queryStart, stateSlots }: StepBatch): Map<number, number> {
    const { maxKeptStates = 0, numStateSlots = 0 } = this.limits;
    if (keptStates.length > maxKeptStates) throw new RangeError(`${keptStates.length} states are to be kept`);
    const kept = new Map<number, number>(), slots = new Set(stateSlots);
    for (const { sequence, numRows, slot } of keptStates) {
      const rows = queryStart[sequence + 1] - queryStart[sequence];
      if (!(numRows >= 1 && numRows < rows)) throw new RangeError(`A state after ${numRows} of ${rows} rows`);
      if (!(slot < numStateSlots) || slots.has(slot)) throw new Error(`State slot ${slot} is not free`);
      slots.add(slot);
      kept.set(queryStart[sequence] + numRows - 1, slot);
    }
    this.keptStates += keptStates.length;
    if (kept.size < keptStates.length) throw new Error("A state is kept twice");
    if ([...kept.keys()].some((row, i, all) => row < all[i - 1])) {
      throw new Error("Kept states are out of order");
    }
    return kept;
  }

  /** Each sequence's rows go on from what its state slot holds, or from nothing at position 0. */
  #writeStates(batch: StepBatch) {
    const { stateSlots, queryStart, positions, tokenIds, contextLengths } = batch;
    const { numStateSlots = 0 } = this.limits;
    if (numStateSlots === 0) {
      if (stateSlots) throw new Error("State slots for a model without recurrent layers");
      return;
    }
    if (stateSlots?.length !== contextLengths.length) throw new Error("A sequence has no state slot");
    if (new Set(stateSlots).size < stateSlots.length) throw new Error("A state slot has two sequences");
    const keptAfter = this.#keptAfter(batch);
    for (const [s, slot] of stateSlots.entries()) {
      if (slot >= numStateSlots) throw new RangeError(`There is no state slot ${slot}`);
      for (let row = queryStart[s]; row < queryStart[s + 1]; row++) {
        const position = positions[row], id = this.#tokenOf(tokenIds[row]);
        const before = position === 0 ? { position: -1, chain: 0 } : this.#states[slot];
        if (before?.position !== position - 1) throw new Error(`Row ${row} does not follow its state`);
        this.#states[slot] = { id, position, chain: hash(before.chain, id) };
        const kept = keptAfter.get(row);
        if (kept !== undefined) this.#states[kept] = this.#states[slot];
      }
    }
  }

  #tokenOf(id: number): number {
    if (id < FIRST_DRAWN) return id;
    const drawn = this.#drawn[id - FIRST_DRAWN];
    if (drawn === undefined) throw new RangeError(`The step before has no sample ${id - FIRST_DRAWN}`);
    return drawn;
  }

  #read(batch: StepBatch, sequence: number, length: number): number[] {
    const visible: number[] = [];
    let chain = 0;
    for (let position = 0; position < length; position++) {
      const slot = this.#slots[slotOf(batch.blockTables[sequence], position)];
      if (!slot) throw new Error(`Sequence ${sequence} reads a slot that was never written`);
      chain = hash(chain, slot.id);
      if (slot.position !== position || slot.chain !== chain) {
        throw new Error(`Sequence ${sequence} reads a block that is stale or not its own`);
      }
      visible.push(slot.id);
    }
    return visible;
  }

  /** After a sequence's last row, its state is that of the tokens which its blocks hold. */
  #checkState({ stateSlots, contextLengths }: StepBatch, sequence: number, visible: readonly number[]) {
    if (!stateSlots || visible.length < contextLengths[sequence]) return;
    if (this.#states[stateSlots[sequence]]?.chain === visible.reduce(hash, 0)) return;
    throw new Error(`The state of sequence ${sequence} is not its own`);
  }

  #choose(visible: readonly number[], sample: SampleRequest): number {
    const scripted = this.#options.next?.(visible, sample);
    if (scripted !== undefined) return scripted;
    if (sample.allowed?.every((word) => word === 0)) throw new RangeError("A mask without any token");
    const bias = new Map(sample.adjustments?.map(({ id, delta }) => [id, delta]));
    const seed = sample.params.temperature > 0 ? hash(hash(...sample.params.seed), sample.counter) : 0;
    let state = hash(visible.reduce(hash, 0), seed);
    for (;;) {
      const id = state % this.#vocabSize;
      if ((bias.get(id) ?? 0) > -50 && (!sample.allowed || hasToken(sample.allowed, id))) return id;
      state = hash(state, id);
    }
  }

  #score(visible: readonly number[], id: number, topLogprobs: number): TokenScore | undefined {
    if (topLogprobs < 0) return undefined;
    const chain = visible.reduce(hash, 0);
    const logprob = (token: number) => -(hash(chain, token) % 997) / 100;
    const top = Array.from({ length: topLogprobs }, (_, k) => (id + k) % this.#vocabSize)
      .map((token) => ({ id: token, logprob: logprob(token) }));
    return { logprob: logprob(id), top };
  }

  #checkLimits(batch: StepBatch) {
    const { maxTokens, maxSequences, maxSamples } = this.limits;
    const numTokens = batch.tokenIds.length, numSequences = batch.contextLengths.length;
    if (numTokens > maxTokens || numSequences > maxSequences || batch.samples.length > maxSamples) {
      throw new RangeError(`Step over its limits: ${numTokens}, ${numSequences}, ${batch.samples.length}`);
    }
    if (numTokens === 0) throw new RangeError("A step without rows");
  }
}

function slotOf(table: Uint32Array, position: number): number {
  const block = table[Math.floor(position / BLOCK_SIZE)];
  return block * BLOCK_SIZE + position % BLOCK_SIZE;
}

/** Mixes two words into 32 bits (the finaliser of MurmurHash3 over their sum). */
function hash(a: number, b: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) + Math.imul(b + 1, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
