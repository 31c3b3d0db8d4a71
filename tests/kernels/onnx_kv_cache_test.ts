// The staging area of the CPU's KV cache: whatever happened before, what is staged equals what the pages hold.
import { deepStrictEqual, ok } from "node:assert/strict";
import { OrtRuntime } from "../../device/ort.ts";
import { type CachedSequence, KvPages, KvStaging } from "../../kernels/attention/onnx_kv_cache.ts";
import { BLOCK_SIZE } from "../../kernels/step.ts";
import { Random, testSeed } from "./random.ts";

const LAYERS = [{ numKvHeads: 1, headSize: 3 }, { numKvHeads: 2, headSize: 5 }];
const NUM_BLOCKS = 40;

/** Pages with a record of what was written: slot -> [layer 0 | layer 1] keys, values being their negatives. */
class RecordedPages {
  readonly pages = new KvPages(LAYERS, NUM_BLOCKS);
  readonly #rows = new Map<number, number[][]>();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  write(slots: Uint32Array): void {
    LAYERS.forEach((layer, index) => {
      const width = layer.numKvHeads * layer.headSize;
      const key = this.#random.normals(slots.length * width);
      this.pages.write(index, slots, key, key.map((x) => -x), 0);
      slots.forEach((slot, i) => {
        const rows = this.#rows.get(slot) ?? [];
        rows[index] = [...key.subarray(i * width, (i + 1) * width)];
        this.#rows.set(slot, rows);
      });
    });
  }

  checkStaged(staging: KvStaging, sequence: CachedSequence, place: number): void {
    LAYERS.forEach(({ numKvHeads, headSize }, index) => {
      const { key, value } = staging.layers[index];
      for (let position = 0; position < sequence.pastLength; position++) {
        const expected = this.#rows.get(slotAt(sequence.blockTable, position))![index];
        for (let head = 0; head < numKvHeads; head++) {
          const at = ((place * numKvHeads + head) * staging.stride + position) * headSize;
          const row = expected.slice(head * headSize, (head + 1) * headSize);
          deepStrictEqual([...key.values.subarray(at, at + headSize)], row, `key ${position}`);
          deepStrictEqual(
            [...value.values.subarray(at, at + headSize)],
            row.map((x) => -x),
            `value ${position}`,
          );
        }
      }
    });
  }
}

function slotAt(blockTable: Uint32Array, position: number): number {
  return blockTable[Math.floor(position / BLOCK_SIZE)] * BLOCK_SIZE + position % BLOCK_SIZE;
}

Deno.test("KvStaging holds what the pages hold, through appends, reuse of blocks and two staging areas", async () => {
  const seed = testSeed();
  console.log(`  HYADES_TEST_SEED=${seed}`);
  const random = new Random(seed), recorded = new RecordedPages(random);
  const runtime = await OrtRuntime.open(1, 2 ** 20);
  using first = new KvStaging(runtime, recorded.pages);
  using second = new KvStaging(runtime, recorded.pages);
  const free = Array.from({ length: NUM_BLOCKS }, (_, i) => i);
  const running: { blocks: number[]; pastLength: number }[] = [];

  for (let step = 0; step < 400; step++) {
    if (running.length < 4 && free.length > 8) running.push({ blocks: [], pastLength: 0 });
    if (random.below(8) === 0) {
      free.push(...running.splice(random.below(running.length), 1).flatMap((s) => s.blocks));
    }
    // Rewritten in place, as after a rollback to an earlier length.
    for (const sequence of running) {
      if (random.below(12) === 0) sequence.pastLength = random.below(sequence.pastLength + 1);
    }
    const staging = random.below(4) === 0 ? second : first;
    // Order changes, as when sequences come and go.
    running.sort(() => random.below(12) === 0 ? 1 : 0);
    const chosen = running.filter(() => random.below(4) > 0).slice(0, 4);
    if (chosen.length === 0) continue;
    const count = random.below(3) === 0 ? 1 + random.below(40) : 1;
    for (const { blocks, pastLength } of chosen) {
      while (blocks.length * BLOCK_SIZE < pastLength + count && free.length > 0) {
        blocks.push(free.splice(random.below(free.length), 1)[0]);
      }
    }
    const able = chosen.filter(({ blocks, pastLength }) => blocks.length * BLOCK_SIZE >= pastLength + count);
    if (able.length === 0) {
      free.push(...running.splice(0).flatMap((sequence) => sequence.blocks));
      continue;
    }
    const sequences = able.map(({ blocks, pastLength }) => ({
      blockTable: Uint32Array.from(blocks),
      pastLength,
    }));
    const places = staging.stage(sequences);
    deepStrictEqual([...places].sort(), places.map((_, i) => i));
    sequences.forEach((sequence, i) => recorded.checkStaged(staging, sequence, places[i]));
    sequences.forEach(({ blockTable, pastLength }, i) => {
      const slots = Uint32Array.from({ length: count }, (_, j) => slotAt(blockTable, pastLength + j));
      recorded.write(slots);
      staging.append(places[i], pastLength, slots);
      able[i].pastLength += count;
    });
  }
});

Deno.test("KvStaging keeps a sequence in its place and copies only its new row", async () => {
  const recorded = new RecordedPages(new Random(7));
  const runtime = await OrtRuntime.open(1, 2 ** 20);
  using staging = new KvStaging(runtime, recorded.pages);
  const tables = [[3, 5, 9], [4, 1, 8]].map((blocks) => Uint32Array.from(blocks));
  recorded.write(Uint32Array.from({ length: NUM_BLOCKS * BLOCK_SIZE }, (_, slot) => slot));
  const stage = (pastLength: number, order: number[]) =>
    staging.stage(order.map((i) => ({ blockTable: tables[i], pastLength })));

  deepStrictEqual(stage(20, [0, 1]), [0, 1]);
  deepStrictEqual(stage(20, [1, 0]), [1, 0]);
  // A mark where nothing needs copying stays, so nothing was copied there again.
  const { key } = staging.layers[0];
  key.values[0] = 12345;
  const slot = slotAt(tables[0], 20);
  recorded.write(Uint32Array.of(slot));
  staging.append(0, 20, Uint32Array.of(slot));
  deepStrictEqual(stage(21, [0, 1]), [0, 1]);
  ok(key.values[0] === 12345);
});
