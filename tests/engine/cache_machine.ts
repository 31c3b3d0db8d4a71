// A prefix cache over blocks, slots and states whose contents are recorded, used as the scheduler does, one step a call.
import assert from "node:assert/strict";
import { BLOCK_SIZE, type HostMoves } from "../../kernels/step.ts";
import { BlockPool } from "../../engine/block_pool.ts";
import { type CachedBlock, type CacheSpace, PrefixCache } from "../../engine/prefix_cache.ts";
import { type CacheHit, numTokensOf } from "../../engine/prefix_search.ts";

/** What a row of a block holds, or a state: the tokens up to it, and in whose space they were computed. */
interface Row {
  readonly space: CacheSpace;
  readonly tokens: readonly number[];
}

/** A sequence that uses the cache as the scheduler does. */
export interface Holder {
  readonly space: CacheSpace;
  readonly ids: number[];
  readonly table: number[];
  computed: number;
  last: CachedBlock | undefined;
  copying: { source: CachedBlock; rows: number } | undefined;
  /** Where the model has recurrent layers. */
  slot: number | undefined;
}

export class Machine {
  readonly pool: BlockPool;
  readonly slots: BlockPool | undefined;
  readonly cache: PrefixCache;
  readonly holders: Holder[] = [];
  readonly #rows: (Row | undefined)[];
  /** By slot. */
  readonly #parked: (Row | undefined)[][] = [];
  /** By state slot. */
  readonly #states: (Row | undefined)[] = [];

  constructor(numBlocks: number, numHostBlocks = 0, numStateSlots = 0) {
    this.pool = new BlockPool(numBlocks);
    this.slots = numHostBlocks > 0 ? new BlockPool(numHostBlocks) : undefined;
    this.cache = new PrefixCache(this.pool, this.slots, numStateSlots);
    this.#rows = new Array(numBlocks * BLOCK_SIZE);
  }

  find(space: CacheSpace, ids: readonly number[], limit = ids.length): CacheHit {
    return this.cache.find(space, { tokenId: (i) => ids[i] }, limit);
  }

  /** Starts a sequence; undefined when there is no room for it. */
  admit(space: CacheSpace, ids: readonly number[]): Holder | undefined {
    const hit = this.find(space, ids, ids.length - 1);
    const missing = Math.ceil(ids.length / BLOCK_SIZE) - hit.numBlocks;
    if (missing > this.cache.numAvailable - this.cache.numTakenBy(hit, new Set())) return undefined;
    const { states } = this.cache;
    if (states?.numAvailable === 0) return undefined;
    const { table, copy } = this.cache.take(hit, Math.ceil(ids.length / BLOCK_SIZE));
    const holder: Holder = {
      space,
      ids: [...ids],
      table,
      computed: numTokensOf(hit),
      last: hit.last,
      copying: copy,
      slot: states?.allocate(),
    };
    if (hit.state) states!.copy(hit.state.slot, holder.slot!);
    this.holders.push(holder);
    return holder;
  }

  /** Makes the moves that are due. @returns them */
  move(): HostMoves {
    const { moves } = this.cache;
    for (const { block, slot } of moves.parks) {
      this.#parked[slot] = this.#rows.slice(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE);
    }
    for (const { block, slot } of moves.unparks) {
      for (let row = 0; row < BLOCK_SIZE; row++) {
        this.#rows[block * BLOCK_SIZE + row] = this.#parked[slot][row];
      }
    }
    this.cache.beginMoves();
    for (const { from, to } of this.cache.states?.beginCopies() ?? []) this.#states[to] = this.#states[from];
    this.cache.settle();
    return moves;
  }

  /** Keeps the state that a holder has got to, where there is a slot for it. */
  keep({ slot, last, computed }: Holder) {
    const { states } = this.cache, kept = computed > 0 ? states?.allocate() : undefined;
    if (kept === undefined) return;
    states!.copy(slot!, kept);
    this.cache.keepState(last, computed, kept);
  }

  /** A step: makes all moves and the copy that are due, and computes up to `count` tokens more. */
  advance(holder: Holder, count: number) {
    this.move();
    const { table, ids, space, copying } = holder;
    if (copying) {
      const to = table[Math.floor(holder.computed / BLOCK_SIZE)];
      for (let row = 0; row < copying.rows; row++) {
        this.#rows[to * BLOCK_SIZE + row] = this.#rows[copying.source.block * BLOCK_SIZE + row];
      }
      this.cache.release(copying.source);
      holder.copying = undefined;
    }
    const end = Math.min(ids.length, holder.computed + count);
    for (let i = holder.computed; i < end; i++) {
      this.#rows[slotOf(table, i)] = { space, tokens: ids.slice(0, i + 1) };
    }
    if (end > holder.computed && holder.slot !== undefined) {
      const before = holder.computed === 0 ? [] : this.#states[holder.slot]?.tokens;
      assert.deepEqual(before, ids.slice(0, holder.computed), "it goes on from a state that is not its own");
      this.#states[holder.slot] = { space, tokens: ids.slice(0, end) };
    }
    holder.computed = end;
    holder.last = this.cache.record(space, holder.last, { tokenId: (i) => ids[i] }, end, table);
  }

  /** @param leaves its state to whoever goes on from there */
  end(holder: Holder, leaves = true) {
    this.holders.splice(this.holders.indexOf(holder), 1);
    if (holder.slot !== undefined) {
      if (leaves && holder.computed > 0) this.cache.keepState(holder.last, holder.computed, holder.slot);
      else this.cache.states!.free(holder.slot);
    }
    if (holder.copying) this.cache.release(holder.copying.source);
    this.cache.releasePath(holder.last);
    this.pool.free(holder.table.slice(holder.last ? holder.last.index + 1 : 0));
  }

  /** The step fails: nobody knows any more what is where. */
  fail() {
    for (const holder of [...this.holders]) this.end(holder, false);
    this.cache.clear();
    this.#rows.fill(undefined);
    this.#states.length = 0;
    this.#parked.length = 0;
  }

  /** Every row that a sequence counts on, or that is yet to be copied for it, holds its tokens, of its own space. */
  check() {
    const copied = this.holders.flatMap(({ copying }) => copying ? [[copying.source.block]] : []);
    const slots = this.holders.flatMap(({ slot }) => slot ?? []);
    this.cache.checkIntegrity([...this.holders.map(({ table }) => table), ...copied], slots);
    if (this.cache.moves.unparks.length > 0) return; // Rows are under way.
    for (const { table, ids, space, computed, copying } of this.holders) {
      const pending = copying?.rows ?? 0;
      for (let i = 0; i < computed; i++) {
        const inSource = copying !== undefined && i >= computed - pending;
        const slot = inSource ? copying.source.block * BLOCK_SIZE + i % BLOCK_SIZE : slotOf(table, i);
        assert.deepEqual(this.#rows[slot], { space, tokens: ids.slice(0, i + 1) }, `row ${i}`);
      }
    }
  }
}

function slotOf(table: readonly number[], position: number): number {
  return table[Math.floor(position / BLOCK_SIZE)] * BLOCK_SIZE + position % BLOCK_SIZE;
}

export function numbers(length: number, first = 0): number[] {
  return Array.from({ length }, (_, i) => first + i);
}

/** Computes a sequence and ends it. */
export function compute(machine: Machine, ids: readonly number[], space: CacheSpace = "") {
  const holder = machine.admit(space, ids)!;
  machine.advance(holder, ids.length);
  machine.end(holder);
  machine.check();
}
