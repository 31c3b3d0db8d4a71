// The slots for what recurrent layers keep of a sequence: one for each that runs, the others for states that were kept for
// who goes on from there, in the prefix cache's tree. Decides whose state gives way, and says what to copy. Pure: it copies
// nothing, and knows no tokens.
import type { StateCopy } from "../kernels/step.ts";
import type { CachedBlock, StateSnapshot } from "./cached_block.ts";
import { OldestFirst } from "./oldest_first.ts";
import { StatePool } from "./state_pool.ts";

/**
 * A slot that nobody holds is free, or has a snapshot. Snapshots give way to who needs a slot, the one that was made or
 * used longest ago first: of one text that is its beginning, for whoever goes on with it goes on at its end.
 *
 * Copies collect until a step begins, which makes them in their order before its rows. So a slot may be copied from, given
 * to somebody else and copied to within one step; and nothing that was kept has to be held until somebody has read it.
 */
export class CachedStates {
  readonly #pool: StatePool;
  readonly #snapshots = new OldestFirst<StateSnapshot>();
  readonly #lost: (block: CachedBlock) => void;
  #copies: StateCopy[] = [];

  /** @param lost told of a block whose snapshot gave way */
  constructor(numSlots: number, lost: (block: CachedBlock) => void) {
    this.#pool = new StatePool(numSlots);
    this.#lost = lost;
  }

  get numSlots(): number {
    return this.#pool.numSlots;
  }

  /** Slots that `allocate` can give. */
  get numAvailable(): number {
    return this.#pool.numFree + this.#snapshots.size;
  }

  get numSnapshots(): number {
    return this.#snapshots.size;
  }

  /** A slot for a state that changes, or is yet to be kept; undefined when all are held. */
  allocate(): number | undefined {
    const { oldest } = this.#snapshots;
    if (this.#pool.numFree === 0 && oldest) {
      this.#drop(oldest);
      this.#lost(oldest.block);
    }
    return this.#pool.allocate();
  }

  free(slot: number) {
    this.#pool.free(slot);
  }

  /** Has the next step copy a state before its rows. */
  copy(from: number, to: number) {
    if (from !== to) this.#copies.push({ from, to });
  }

  /** A step begins, and makes the copies that have collected. */
  beginCopies(): readonly StateCopy[] {
    const copies = this.#copies;
    this.#copies = [];
    return copies;
  }

  /** Takes over a slot with the state after `rows` of a block; where there is one already, that is enough. */
  keep(block: CachedBlock, rows: number, slot: number) {
    if (block.states.has(rows)) return this.#pool.free(slot);
    const snapshot = { slot, rows, block };
    block.states.set(rows, snapshot);
    this.#snapshots.add(snapshot);
  }

  /** Somebody goes on from it. */
  use(snapshot: StateSnapshot) {
    this.#snapshots.delete(snapshot);
    this.#snapshots.add(snapshot);
  }

  /** To a block that begins with the same tokens. */
  moveAll(from: CachedBlock, to: CachedBlock) {
    for (const snapshot of from.states.values()) {
      if (to.states.has(snapshot.rows)) {
        this.#drop(snapshot);
        continue;
      }
      snapshot.block = to;
      to.states.set(snapshot.rows, snapshot);
    }
    from.states.clear();
  }

  dropAll(block: CachedBlock) {
    for (const snapshot of block.states.values()) this.#drop(snapshot);
  }

  /** Forgets every snapshot, and copies that no step has begun to make. */
  clear() {
    for (const snapshot of this.#snapshots) this.#drop(snapshot);
    this.#copies = [];
  }

  #drop(snapshot: StateSnapshot) {
    snapshot.block.states.delete(snapshot.rows);
    this.#snapshots.delete(snapshot);
    this.#pool.free(snapshot.slot);
  }

  /**
   * Checks that free slots, held ones and snapshots are all slots, and that snapshots are those of the tree.
   * @param held the slots of all holders
   * @throws {Error} naming what is wrong
   */
  checkIntegrity(held: readonly number[], tree: readonly CachedBlock[]) {
    const snapshots = tree.flatMap(({ states }) => [...states.values()]);
    this.#pool.checkIntegrity([...held, ...snapshots.map(({ slot }) => slot)]);
    for (const block of tree) {
      for (const [rows, snapshot] of block.states) {
        const isRight = snapshot.block === block && snapshot.rows === rows && rows <= block.tokens.length;
        if (isRight && this.#snapshots.has(snapshot)) continue;
        throw new Error(`State cache is corrupt: slot ${snapshot.slot} is not where its block says`);
      }
    }
    if (this.#snapshots.size > snapshots.length) {
      throw new Error("State cache is corrupt: it lost a block");
    }
  }
}
