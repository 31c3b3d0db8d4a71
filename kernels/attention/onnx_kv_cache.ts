// The KV cache of onnxruntime on the CPU. `KvPages` holds it as the engine sees it: blocks and slots. `KvStaging` holds copies
// of the sequences that run now, gathered into the matrices that a session reads in place; from one decode step to the
// next only the new row is copied. Knows nothing of graphs and sessions.
import type { HeapBuffer, OrtRuntime } from "../../device/ort.ts";
import type { KvLayer } from "../graph.ts";
import { BLOCK_SIZE, type BlockCopy } from "../step.ts";

/** Keys per staged sequence grow by this many, so that sequences move to a longer stride only now and then. */
const STRIDE_STEP = 64;

/** One sequence of a run: its blocks, and how many of its tokens are cached already. */
export interface CachedSequence {
  readonly blockTable: Uint32Array;
  readonly pastLength: number;
}

/** K and V of all blocks, [numBlocks * BLOCK_SIZE][numKvHeads * headSize] per layer. */
export class KvPages {
  readonly layers: readonly KvLayer[];
  /** Counts the writes to a block since the start: a copy with the same count is up to date. */
  readonly writes: Uint32Array;
  readonly #keys: readonly Float32Array[];
  readonly #values: readonly Float32Array[];

  constructor(layers: readonly KvLayer[], numBlocks: number) {
    this.layers = layers;
    this.writes = new Uint32Array(numBlocks);
    const allocate = (layer: KvLayer) => new Float32Array(numBlocks * BLOCK_SIZE * rowWidth(layer));
    this.#keys = layers.map(allocate);
    this.#values = layers.map(allocate);
  }

  /** Stores the rows [first, first + count) of `key` and `value` at `slots`. */
  write(
    layer: number,
    slots: Uint32Array,
    key: Float32Array,
    value: Float32Array,
    first: number,
  ): void {
    const width = rowWidth(this.layers[layer]);
    slots.forEach((slot, i) => {
      const at = (first + i) * width;
      this.#keys[layer].set(key.subarray(at, at + width), slot * width);
      this.#values[layer].set(value.subarray(at, at + width), slot * width);
    });
  }

  /** Copies the first rows of one block to another; copies of it that are staged are out of date then. */
  copyRows({ from, to, rows }: BlockCopy): void {
    this.layers.forEach((layer, index) => {
      const width = rowWidth(layer), start = from * BLOCK_SIZE * width;
      for (const rowsOfLayer of [this.#keys[index], this.#values[index]]) {
        rowsOfLayer.copyWithin(to * BLOCK_SIZE * width, start, start + rows * width);
      }
    });
    this.writes[to]++;
  }

  /** Copies `count` rows from `slot` on to `row` of a staged sequence whose heads lie `stride` rows apart. */
  copyTo(
    layer: number,
    slot: number,
    count: number,
    staged: StagedLayer,
    sequence: number,
    row: number,
  ): void {
    const { numKvHeads, headSize } = this.layers[layer];
    const width = numKvHeads * headSize;
    for (let head = 0; head < numKvHeads; head++) {
      const to = ((sequence * numKvHeads + head) * staged.stride + row) * headSize;
      // With one head, rows lie as in the pages and go in one piece.
      const pieces = numKvHeads === 1 ? 1 : count;
      const length = (count / pieces) * headSize;
      for (let piece = 0; piece < pieces; piece++) {
        const from = (slot + piece) * width + head * headSize;
        const at = to + piece * headSize;
        staged.key.values.set(this.#keys[layer].subarray(from, from + length), at);
        staged.value.values.set(this.#values[layer].subarray(from, from + length), at);
      }
    }
  }
}

/** One layer's staged matrices, [sequences][numKvHeads][stride][headSize]. */
export interface StagedLayer {
  readonly key: HeapBuffer;
  readonly value: HeapBuffer;
  readonly stride: number;
}

/** What a place in the staging area holds: copies of these blocks, made at these counts of writes. */
interface StagedSequence {
  readonly blocks: number[];
  readonly writes: number[];
}

export class KvStaging implements Disposable {
  readonly #runtime: OrtRuntime;
  readonly #pages: KvPages;
  #places: StagedSequence[] = [];
  #layers: StagedLayer[] = [];
  #stride = 0;
  /** Tokens, all sequences together, that the buffers have room for. */
  #capacity = 0;

  constructor(runtime: OrtRuntime, pages: KvPages) {
    this.#runtime = runtime;
    this.#pages = pages;
  }

  get layers(): readonly StagedLayer[] {
    return this.#layers;
  }

  /** Keys per sequence in the staged matrices; those beyond a sequence's own are to be masked. */
  get stride(): number {
    return this.#stride;
  }

  /**
   * Brings the sequences' caches into places 0 .. sequences.length - 1 and returns the place of each. A sequence that
   * is there already stays where it is.
   */
  stage(sequences: readonly CachedSequence[]): number[] {
    this.#reserve(sequences);
    const places = this.#assign(sequences);
    sequences.forEach((sequence, i) => this.#refresh(places[i], sequence));
    return places;
  }

  /** Tells that `slots` were written as the sequence's tokens from `position` on, and copies them to its place. */
  append(place: number, position: number, slots: Uint32Array): void {
    const { blocks, writes } = this.#places[place];
    slots.forEach((slot, i) => {
      const row = position + i, index = Math.floor(row / BLOCK_SIZE), block = Math.floor(slot / BLOCK_SIZE);
      const before = this.#pages.writes[block]++;
      if (row >= this.#stride) return;
      if (row % BLOCK_SIZE === 0 && index === blocks.length) {
        blocks.push(block);
        writes.push(before);
      }
      if (blocks[index] !== block || writes[index] !== before) return;
      this.#layers.forEach((staged, layer) => this.#pages.copyTo(layer, slot, 1, staged, place, row));
      writes[index] = before + 1;
    });
  }

  [Symbol.dispose](): void {
    for (const { key, value } of this.#layers) {
      key[Symbol.dispose]();
      value[Symbol.dispose]();
    }
    this.#layers = [];
    this.#places = [];
    this.#capacity = 0;
  }

  /** Chooses the stride and makes room; either change leaves nothing staged. */
  #reserve(sequences: readonly CachedSequence[]): void {
    const longest = Math.max(...sequences.map((sequence) => sequence.pastLength));
    const needed = Math.max(1, Math.ceil(longest / STRIDE_STEP)) * STRIDE_STEP;
    const wasteful = this.#stride > needed * 1.25 + STRIDE_STEP;
    if (this.#stride < needed || wasteful) {
      this.#stride = needed;
      this.#places = [];
    }
    const tokens = this.#stride * sequences.length;
    if (tokens > this.#capacity) this.#grow(Math.ceil(tokens * 1.25));
    this.#layers = this.#layers.map((layer) => ({ ...layer, stride: this.#stride }));
    while (this.#places.length < sequences.length) this.#places.push({ blocks: [], writes: [] });
  }

  #grow(tokens: number): void {
    this[Symbol.dispose]();
    this.#layers = this.#pages.layers.map((layer) => ({
      key: this.#runtime.allocate(tokens * rowWidth(layer)),
      value: this.#runtime.allocate(tokens * rowWidth(layer)),
      stride: this.#stride,
    }));
    this.#capacity = tokens;
  }

  #assign(sequences: readonly CachedSequence[]): number[] {
    const free = new Set(sequences.keys());
    const places = sequences.map((sequence, i) => {
      const last = Math.ceil(sequence.pastLength / BLOCK_SIZE) - 1;
      const holds = (place: number) =>
        free.has(place) && this.#places[place].blocks[last] === sequence.blockTable[last];
      const place = last < 0 ? undefined : holds(i) ? i : [...free].find(holds);
      if (place !== undefined) free.delete(place);
      return place;
    });
    return places.map((place) => place ?? takeFirst(free));
  }

  /** Copies the blocks that are missing from the place, or were written to since. */
  #refresh(place: number, { blockTable, pastLength }: CachedSequence): void {
    const { blocks, writes } = this.#places[place];
    const count = Math.ceil(pastLength / BLOCK_SIZE);
    blocks.length = writes.length = Math.min(blocks.length, count);
    for (let index = 0; index < count; index++) {
      const block = blockTable[index];
      if (blocks[index] === block && writes[index] === this.#pages.writes[block]) continue;
      blocks[index] = block;
      writes[index] = this.#pages.writes[block];
      this.#layers.forEach((staged, layer) =>
        this.#pages.copyTo(layer, block * BLOCK_SIZE, BLOCK_SIZE, staged, place, index * BLOCK_SIZE)
      );
    }
  }
}

/** Bytes that one staged token takes, K and V of all layers. */
export function kvBytesPerToken(layers: readonly KvLayer[]): number {
  return layers.reduce((sum, layer) => sum + 2 * 4 * rowWidth(layer), 0);
}

function rowWidth(layer: KvLayer): number {
  return layer.numKvHeads * layer.headSize;
}

function takeFirst(places: Set<number>): number {
  const [first] = places;
  places.delete(first);
  return first;
}
