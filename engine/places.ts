// Who runs and who waits, and the blocks and state slots that those who run hold: admission with reuse of what is cached,
// a block for every next token, preemption, after which the cache has what was computed. Pure: no device, no clock. Who
// gets rows of a step, and whose turn it is, is the scheduler's to say.
import { BLOCK_SIZE, type StepLimits } from "../kernels/step.ts";
import { heldBlocks, Room } from "./room.ts";
import type { StepMoves } from "./batch.ts";
import { BlockPool } from "./block_pool.ts";
import { type CacheSpace, PrefixCache } from "./prefix_cache.ts";
import { Progress } from "./progress.ts";
import { type CacheHit, numTokensOf } from "./prefix_search.ts";
import { blocksFor, type Sequence } from "./sequence.ts";
import { SequenceStates } from "./sequence_states.ts";
import type { ScheduledSequence } from "./step_budget.ts";
import { leastUrgent } from "./victims.ts";

/** What others than the scheduler may look at. */
export type PlacesView = Pick<
  Places,
  | "waiting"
  | "running"
  | "numPreemptions"
  | "numBlocks"
  | "numFreeBlocks"
  | "numCachedBlocks"
  | "numHostBlocks"
  | "numParkedBlocks"
  | "numMoved"
  | "blockMap"
  | "numStateSlots"
  | "numFreeStateSlots"
  | "numStateSnapshots"
  | "countCached"
  | "checkIntegrity"
>;

/** Sequences in each list are in order of arrival. */
export class Places {
  readonly #pool: BlockPool;
  readonly #cache: PrefixCache;
  /** Undefined for models without recurrent layers. */
  readonly #states: SequenceStates | undefined;
  readonly #limits: StepLimits;
  readonly #room: Room;
  readonly #waiting: Sequence[] = [];
  readonly #running: Sequence[] = [];
  #arrivals = 0;
  #preemptions = 0;

  /**
   * @param snapshotTokens as `SchedulerOptions`
   * @throws {RangeError} for limits of less than 1
   */
  constructor(limits: StepLimits, snapshotTokens?: number) {
    this.#limits = limits;
    const { numStateSlots = 0, maxKeptStates = 0 } = limits;
    this.#pool = new BlockPool(limits.numBlocks);
    const slots = limits.numHostBlocks ? new BlockPool(limits.numHostBlocks) : undefined;
    this.#cache = new PrefixCache(this.#pool, slots, numStateSlots);
    this.#states = this.#cache.states &&
      new SequenceStates(this.#cache, this.#cache.states, maxKeptStates, snapshotTokens);
    this.#room = new Room(limits, this.#cache);
  }

  get waiting(): readonly Sequence[] {
    return this.#waiting;
  }

  get running(): readonly Sequence[] {
    return this.#running;
  }

  /** As `Room`. */
  get maxRunning(): number {
    return this.#room.maxRunning;
  }

  get numPreemptions(): number {
    return this.#preemptions;
  }

  get numBlocks(): number {
    return this.#pool.numBlocks;
  }

  /** Blocks that no sequence holds, those that still hold cached tokens included. */
  get numFreeBlocks(): number {
    return this.#cache.numAvailable;
  }

  /** Blocks that hold cached tokens and that no sequence holds. */
  get numCachedBlocks(): number {
    return this.#cache.numUnused;
  }

  /** Slots of host memory. */
  get numHostBlocks(): number {
    return this.#limits.numHostBlocks ?? 0;
  }

  /** Those that hold a block. */
  get numParkedBlocks(): number {
    return this.#cache.numParked;
  }

  /** Blocks parked, and brought back, in all steps so far. */
  get numMoved(): PrefixCache["numMoved"] {
    return this.#cache.numMoved;
  }

  /** What every block is good for now. */
  get blockMap(): PrefixCache["blockMap"] {
    return this.#cache.blockMap;
  }

  /** Slots for the states of recurrent layers; 0 for models without. */
  get numStateSlots(): number {
    return this.#cache.states?.numSlots ?? 0;
  }

  /** Those that no sequence holds, those with a snapshot included. */
  get numFreeStateSlots(): number {
    return this.#cache.states?.numAvailable ?? 0;
  }

  /** Slots with a state from which somebody may go on. */
  get numStateSnapshots(): number {
    return this.#cache.states?.numSnapshots ?? 0;
  }

  /** A step is made: its rows will change the states of their sequences. @returns it, with the states that it is to keep */
  begin(step: ScheduledSequence[]): ScheduledSequence[] {
    return this.#states?.begin(step) ?? step;
  }

  /** That step begins: what it has to move before its rows; `settleMoves` says that the first of those under way has run. */
  beginMoves(): StepMoves {
    return { ...this.#cache.beginMoves(), stateCopies: this.#cache.states?.beginCopies() ?? [] };
  }

  /** How many of a prompt's tokens would be taken from the cache if it were admitted now. */
  countCached(space: CacheSpace, promptIds: readonly number[]): number {
    const tokens = { tokenId: (index: number) => promptIds[index] };
    return numTokensOf(this.#cache.find(space, tokens, promptIds.length - 1));
  }

  /**
   * Queues a sequence.
   * @throws {RangeError} when its prompt and its completion would not fit an empty pool: it could wait for ever
   */
  add(sequence: Sequence) {
    const blocks = blocksFor(sequence.promptLength + sequence.maxTokens);
    const most = Math.min(this.#limits.maxBlocksPerSequence, this.#limits.numBlocks);
    if (blocks > most) {
      throw new RangeError(
        `Cannot queue sequence: it must fit ${most} blocks, its full length needs ${blocks}`,
      );
    }
    sequence.arrival = this.#arrivals++;
    this.#wait(sequence);
    this.#waiting.push(sequence);
  }

  settleMoves() {
    this.#cache.settle();
  }

  /**
   * A step has failed. Where blocks move or states are copied, nobody knows what became of them: who runs begins anew,
   * nothing is cached.
   */
  dropMoved() {
    if (this.numHostBlocks === 0 && !this.#states) return this.#cache.settle();
    for (const sequence of this.#running) this.#states?.release(sequence, false);
    for (const sequence of [...this.#running]) this.preempt(sequence);
    this.#cache.clear();
  }

  /** Records that rows of a running sequence are computed, hands full ones to the cache and takes back what was lent. */
  record(sequence: Sequence) {
    this.#releaseCopy(sequence);
    this.#pool.free(sequence.blockTable.splice(blocksFor(sequence.numTokens)));
    const { cacheSpace, lastCached, numComputed, blockTable } = sequence;
    sequence.lastCached = this.#cache.record(cacheSpace, lastCached, sequence, numComputed, blockTable);
    this.#states?.record(sequence);
  }

  /** @returns most drafts after a sequence's rows of the step in the making, for the sake of its state */
  prepareDrafts(scheduled: ScheduledSequence): number {
    return this.#states?.prepareDrafts(scheduled) ?? Infinity;
  }

  /** @returns whether the sequence's rows from `start` on count as never computed: a draft among them has changed its state */
  undoDrafts(sequence: Sequence, start: number, areRight: boolean): boolean {
    this.#states?.settleDrafts(sequence, start, areRight);
    return !areRight && this.#states !== undefined;
  }

  /** Takes a sequence out, wherever it is, and frees its blocks and its slot; a second call does nothing. */
  finish(sequence: Sequence) {
    if (sequence.state === "finished") return;
    const list = sequence.state === "running" ? this.#running : this.#waiting;
    const index = list.indexOf(sequence);
    if (index >= 0) list.splice(index, 1);
    this.#release(sequence);
    sequence.state = "finished";
  }

  /** @throws {Error} when a block or a slot is lost or held twice, or a block cached and held by whom the cache does not know */
  checkIntegrity() {
    const slots = this.#states?.slotsOf([...this.#running, ...this.#waiting]);
    this.#cache.checkIntegrity(this.#running.map(heldBlocks), slots);
  }

  /** A block for the next token of all that decode, the more urgent and the older first. */
  reserveDecodes(elder: Sequence | undefined) {
    const decodes = this.#running.filter((one) => Progress.now.isDecode(one)).sort((a, b) =>
      Number(b === elder) - Number(a === elder) || a.rank - b.rank || a.arrival - b.arrival
    );
    for (const sequence of decodes) if (sequence.state === "running") this.#reserve(sequence, elder);
  }

  #reserve(sequence: Sequence, elder: Sequence | undefined) {
    const missing = blocksFor(sequence.numTokens) - sequence.blockTable.length;
    while (missing > 0 && sequence.state === "running") {
      const blocks = this.#cache.allocate(missing);
      if (blocks) return void sequence.blockTable.push(...blocks);
      this.preempt(leastUrgent(this.#running, elder)!);
    }
  }

  /**
   * Blocks for drafts after the sequence's tokens, until its rows are recorded: only such as hold nothing, so that drafts
   * cost nobody a place or what is cached.
   * @returns how many drafts there is room for, at most `count`
   */
  lendBlocks(sequence: Sequence, count: number): number {
    const { blockTable, numTokens } = sequence;
    const missing = Math.max(0, blocksFor(numTokens + count) - blockTable.length);
    blockTable.push(...this.#pool.allocate(Math.min(missing, this.#pool.numFree))!);
    return Math.min(count, blockTable.length * BLOCK_SIZE - numTokens);
  }

  /**
   * Has unused blocks give way until `count` hold nothing, as far as there are so many: where the cache has filled the
   * pool, `lendBlocks` would find none. To be called for a step that is made, whose moves these become.
   */
  keepFree(count: number) {
    const missing = count - this.#pool.numFree;
    if (missing <= 0) return;
    const blocks = this.#cache.allocate(Math.min(count, this.#cache.numAvailable));
    this.#pool.free(blocks!);
  }

  preempt(sequence: Sequence) {
    this.#running.splice(this.#running.indexOf(sequence), 1);
    this.#cache.want(sequence.lastCached);
    this.#release(sequence);
    this.#wait(sequence);
    insertByArrival(this.#waiting, sequence);
    this.#preemptions++;
  }

  #wait(sequence: Sequence) {
    const { cacheSpace, numTokens, numReusable, leader } = sequence;
    sequence.state = "waiting";
    const cached = leader ? numReusable : numTokensOf(this.#cache.find(cacheSpace, sequence, numReusable));
    sequence.numExpected = numTokens - cached;
  }

  /** Lets go of the sequence's blocks, of which those with computed rows stay cached, and of its state, which may, too. */
  #release(sequence: Sequence) {
    this.#releaseCopy(sequence);
    this.#states?.release(sequence, true);
    const { blockTable, lastCached } = sequence;
    this.#cache.releasePath(lastCached);
    this.#pool.free(blockTable.slice(lastCached ? lastCached.index + 1 : 0));
    sequence.blockTable = [];
    sequence.lastCached = undefined;
    sequence.numComputed = 0;
    sequence.numToRedo = 0;
  }

  #releaseCopy(sequence: Sequence) {
    if (sequence.pendingCopy) this.#cache.release(sequence.pendingCopy.source);
    sequence.pendingCopy = undefined;
  }

  /** Moves a sequence from the queue to running, with blocks for all its tokens, when there is room for it. */
  admit(sequence: Sequence): boolean {
    const hit = this.#room.hitFor(sequence, this.#running);
    if (!hit) return false;
    this.#waiting.splice(this.#waiting.indexOf(sequence), 1);
    this.#start(sequence, hit);
    insertByArrival(this.#running, sequence);
    return true;
  }

  /** As `Room.victimsFor`. */
  victimsFor(sequence: Sequence, elder: Sequence | undefined): readonly Sequence[] | undefined {
    return this.#room.victimsFor(sequence, this.#running, elder);
  }

  /** As `Room.hasRoomForAll`. */
  get hasRoomForAll(): boolean {
    return this.#room.hasRoomForAll(this.#running, this.#waiting);
  }

  #start(sequence: Sequence, hit: CacheHit) {
    const { table, copy } = this.#cache.take(hit, blocksFor(sequence.numTokens));
    sequence.blockTable = table;
    sequence.lastCached = hit.last;
    sequence.pendingCopy = copy;
    this.#states?.start(sequence, hit);
    sequence.numComputed = numTokensOf(hit);
    sequence.numCachedTokens ??= sequence.numComputed;
    sequence.state = "running";
  }
}

function insertByArrival(list: Sequence[], sequence: Sequence) {
  const index = list.findLastIndex(({ arrival }) => arrival < sequence.arrival);
  list.splice(index + 1, 0, sequence);
}
