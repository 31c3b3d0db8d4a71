// Where the blocks of the prefix cache's tree are: on the device or, those that nobody uses and that had to give way
// there, parked in slots of host memory. Decides who gives way, and says what to move. Pure: it moves nothing, and knows
// no tokens.
import type { HostMoves } from "../kernels/step.ts";
import { blockByte, type BlockMap } from "./block_map.ts";
import type { BlockPool } from "./block_pool.ts";
import type { CachedBlock } from "./cached_block.ts";
import { OldestFirst } from "./oldest_first.ts";

/** Moves that a step has been given and has not made yet. */
interface MovesUnderWay {
  readonly numParks: number;
  readonly numUnparks: number;
  slotsRead: readonly number[];
}

/**
 * The tree holds one reference of each of its blocks, of the device's block or of the slot. A block on the device with
 * no other is unused; a parked one always is. Blocks are taken from the unused, slots from the parked, each time what was
 * let go of longest ago; but what nobody wanted again while it was on the device is parked only where a slot is free, or
 * has what follows it. Many prompts that are read once would else cost time in every step, and what is worth parking its
 * slots. Who holds a block holds its ancestors too, and lets go of them no earlier; so the descendants of an unused block
 * are parked, or unused and come before it; those of a parked one are parked and come before it. What gives way never
 * leads to anything that stays.
 *
 * Moves collect until a step begins that makes them. A slot that it reads has a reference more until it has run: parks
 * come first in a step, so nothing may be parked there.
 */
export class CacheMemory {
  readonly #blocks: BlockPool;
  readonly #slots: BlockPool | undefined;
  readonly #forget: (cached: CachedBlock) => void;
  readonly #unused = new OldestFirst<CachedBlock>();
  readonly #parked = new OldestFirst<CachedBlock>();
  /** Slot to park to: block. */
  readonly #parks = new Map<number, number>();
  /** Block to bring back to: slot. */
  readonly #unparks = new Map<number, number>();
  #slotsRead: number[] = [];
  /** Of the steps under way, in their order. */
  #underWay: MovesUnderWay[] = [];
  #numParks = 0;
  #numUnparks = 0;

  /** @param forget takes a block without descendants out of the tree, `drop` included */
  constructor(blocks: BlockPool, slots: BlockPool | undefined, forget: (cached: CachedBlock) => void) {
    this.#blocks = blocks;
    this.#slots = slots;
    this.#forget = forget;
  }

  /** Blocks of the device that hold tokens and that nobody uses. */
  get numUnused(): number {
    return this.#unused.size;
  }

  get numParked(): number {
    return this.#parked.size;
  }

  /** Blocks that `allocate` can give. */
  get numAvailable(): number {
    return this.#blocks.numFree + this.#unused.size;
  }

  /** Parks and unparks of all steps that have run. */
  get numMoved(): { readonly parks: number; readonly unparks: number } {
    return { parks: this.#numParks, unparks: this.#numUnparks };
  }

  /** What every block and slot is good for now. */
  get blockMap(): BlockMap {
    const device = this.#blocks.map((references) => {
      if (references === 0) return blockByte("empty");
      return blockByte(references > 2 ? "shared" : "held"); // One of the references may be the tree's.
    });
    for (const { block } of this.#unused) device[block] = blockByte("cached");
    const host = this.#slots?.map((references) => blockByte(references > 0 ? "cached" : "empty"));
    return { device, host: host ?? new Uint8Array() };
  }

  /** What the next step has to move. */
  get moves(): HostMoves {
    return {
      parks: Array.from(this.#parks, ([slot, block]) => ({ block, slot })),
      unparks: Array.from(this.#unparks, ([block, slot]) => ({ block, slot })),
    };
  }

  /** A step begins, and makes what has collected. To be called for every step; `settle` then says that the first has run. */
  beginMoves(): HostMoves {
    const { moves } = this;
    this.#underWay.push({
      numParks: moves.parks.length,
      numUnparks: moves.unparks.length,
      slotsRead: this.#slotsRead,
    });
    this.#dropCollected();
    return moves;
  }

  settle() {
    const done = this.#underWay.shift();
    if (!done) return;
    this.#numParks += done.numParks;
    this.#numUnparks += done.numUnparks;
    this.#slots?.free(done.slotsRead);
  }

  /** The first step under way has failed, and nobody knows what became of any moves; every block must be dropped. */
  cancelMoves() {
    for (const { slotsRead } of [...this.#underWay, { slotsRead: this.#slotsRead }]) {
      this.#slots?.free(slotsRead);
    }
    this.#underWay.shift();
    for (const later of this.#underWay) later.slotsRead = [];
    this.#dropCollected();
  }

  #dropCollected() {
    this.#slotsRead = [];
    this.#parks.clear();
    this.#unparks.clear();
  }

  /**
   * Takes `count` blocks, each with one reference, or none at all; unused ones are parked or lose what they held.
   * @returns undefined when fewer are free or unused
   */
  allocate(count: number): number[] | undefined {
    if (count > this.numAvailable) return undefined;
    while (this.#blocks.numFree < count) this.#evict(this.#unused.oldest!);
    return this.#blocks.allocate(count);
  }

  isUnused(cached: CachedBlock): boolean {
    return cached.parked || this.#unused.has(cached);
  }

  /** The tree's reference to a block that a sequence has computed. */
  add({ block }: CachedBlock) {
    this.#blocks.share([block]);
  }

  /** Takes the tree's reference away. */
  drop(cached: CachedBlock) {
    if (cached.parked) this.#slots!.free([cached.block]);
    else this.#blocks.free([cached.block]);
    this.#unused.delete(cached);
    this.#parked.delete(cached);
  }

  /** Whether somebody holds a block beside the tree and the sequence that computes it. */
  isShared({ block }: CachedBlock): boolean {
    return this.#blocks.references(block) > 2;
  }

  /** Adds a reference to each block of a path, the first one first. What is parked is brought back: room must be there. */
  holdPath(path: readonly CachedBlock[]) {
    for (const cached of path) {
      if (cached.parked) this.#parked.delete(cached); // Or it might give way to what gives way to it.
      else this.hold(cached);
    }
    for (const cached of path) {
      if (!cached.parked) continue;
      this.#bringBack(cached);
      this.hold(cached);
    }
  }

  /** Adds a reference to a block on the device. */
  hold(cached: CachedBlock) {
    this.#blocks.share([cached.block]);
    this.#unused.delete(cached);
    cached.wanted = true;
  }

  /** Drops a reference that `hold` added. @returns true when nobody uses the block any more */
  release(cached: CachedBlock): boolean {
    this.#blocks.free([cached.block]);
    if (this.#blocks.references(cached.block) > 1) return false;
    this.#unused.add(cached);
    return true;
  }

  /** Keeps the data of a parked block until the step has run that begins next. @returns its slot */
  readSlot(cached: CachedBlock): number {
    const slot = cached.block;
    cached.wanted = true;
    this.#slots!.share([slot]);
    this.#slotsRead.push(slot);
    this.#parked.delete(cached);
    this.#parked.add(cached);
    return slot;
  }

  /** Has the next step copy a slot that is kept to a block of the caller's. */
  copySlot(slot: number, block: number) {
    this.#unparks.set(block, slot);
  }

  /** A parked block was computed again: it moves to where `computed`, which the tree forgets, is. */
  replaceParked(cached: CachedBlock, computed: CachedBlock) {
    this.drop(cached);
    cached.block = computed.block;
    cached.parked = false;
  }

  /**
   * Checks both pools, the order of what may give way, and that no block on the device follows a parked one.
   * @param held the blocks of all holders, a list each
   * @param tree all blocks of the tree
   * @throws {Error} naming what is wrong
   */
  checkIntegrity(held: readonly (readonly number[])[], tree: readonly CachedBlock[]) {
    const parked = tree.filter((cached) => cached.parked).map(({ block }) => block);
    const onDevice = tree.filter((cached) => !cached.parked).map(({ block }) => block);
    this.#blocks.checkIntegrity([...held, onDevice]);
    const read = this.#underWay.map(({ slotsRead }) => slotsRead);
    this.#slots?.checkIntegrity([this.#slotsRead, ...read, parked]);
    const unused = positionsIn(this.#unused, this.#blocks), inSlots = positionsIn(this.#parked, this.#slots);
    for (const { block, parked, parent } of tree) {
      const wrong = (what: string) =>
        new Error(`Prefix cache is corrupt: ${parked ? "slot" : "block"} ${block} ${what}`);
      const position = parked ? inSlots[block] : unused[block];
      const isUnused = parked || this.#blocks.references(block) === 1;
      if (isUnused !== position > 0) throw wrong("is in use and up for reuse, or neither");
      if (parent?.parked && !parked) throw wrong("follows a parked block");
      if (!parent || parent.parked !== parked) continue;
      const parentPosition = parked ? inSlots[parent.block] : unused[parent.block];
      if (parentPosition > 0 && !(isUnused && position < parentPosition)) {
        throw wrong("would outlive its parent");
      }
    }
    const members = this.#unused.size + this.#parked.size;
    if (members > tree.length) throw new Error("Prefix cache is corrupt: it lost a block");
  }

  /** Parks an unused block, or has it forgotten where there is no slot for it. */
  #evict(cached: CachedBlock) {
    const slot = this.#slotOf(cached) ?? this.#freeSlot(cached);
    if (slot === undefined) return this.#forget(cached);
    const { block } = cached;
    if (!this.#unparks.delete(block)) this.#parks.set(slot, block);
    this.#blocks.free([block]);
    this.#unused.delete(cached);
    this.#parked.add(Object.assign(cached, { block: slot, parked: true }));
  }

  /** The slot that a block is yet to be brought back from: there it stays. */
  #slotOf({ block }: CachedBlock): number | undefined {
    const slot = this.#unparks.get(block);
    if (slot !== undefined) this.#slots!.share([slot]);
    return slot;
  }

  /** For what was wanted again, what was let go of longest ago gives way; else what follows it, of no use without it. */
  #freeSlot(cached: CachedBlock): number | undefined {
    while (this.#slots?.numFree === 0) {
      const last = cached.wanted ? this.#parked.oldest : endBelow(cached);
      if (!last) break;
      this.#forget(last);
    }
    return this.#slots?.allocate(1)?.[0];
  }

  /** The tree's reference to the slot becomes that of the step which reads it. */
  #bringBack(cached: CachedBlock) {
    const slot = cached.block, [block] = this.allocate(1)!;
    this.#slotsRead.push(slot);
    this.#unparks.set(block, slot);
    Object.assign(cached, { block, parked: false });
  }
}

/** A descendant without descendants. */
function endBelow({ children }: CachedBlock): CachedBlock | undefined {
  let end: CachedBlock | undefined;
  for (let siblings = first(children); siblings; siblings = first(end!.children)) [end] = siblings;
  return end;
}

function first(children: CachedBlock["children"]): Set<CachedBlock> | undefined {
  return children.values().next().value;
}

/** Of each block or slot the place in the order, from 1; 0 for others. */
function positionsIn(blocks: Iterable<CachedBlock>, { numBlocks } = { numBlocks: 0 }): Uint32Array {
  const positions = new Uint32Array(numBlocks);
  let position = 0;
  for (const { block } of blocks) positions[block] = ++position;
  return positions;
}
