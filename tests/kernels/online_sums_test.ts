// Which squares of a long convolution are summed when: every pair of input and output once, whatever happens to sequences.
import { deepStrictEqual, equal, ok, throws } from "node:assert/strict";
import {
  type OnlineShape,
  type OnlineSum,
  OnlineSums,
} from "../../kernels/convolution_history/online_sums.ts";
import type { StateCopy, StepBatch, StepLimits } from "../../kernels/step.ts";
import { Random, testSeed } from "./random.ts";

const SHAPE: OnlineShape = { window: 128, square: 16 };
const LIMITS: StepLimits = {
  maxTokens: 64,
  maxSequences: 4,
  maxSamples: 1,
  maxBlocksPerSequence: 40,
  numBlocks: 99,
};

interface Row {
  readonly slot: number;
  readonly position: number;
  readonly rows?: number;
}

function batchOf(rows: readonly Row[]): StepBatch {
  const counts = rows.map(({ rows = 1 }) => rows);
  const queryStart = [0];
  for (const count of counts) queryStart.push(queryStart.at(-1)! + count);
  return {
    tokenIds: new Uint32Array(queryStart.at(-1)!),
    positions: Uint32Array.from(
      rows.flatMap(({ position }, s) => Array.from({ length: counts[s] }, (_, i) => position + i)),
    ),
    slotMapping: new Uint32Array(queryStart.at(-1)!),
    queryStart: Uint32Array.from(queryStart),
    contextLengths: Uint32Array.from(rows, ({ position }, s) => position + counts[s]),
    blockTables: rows.map(() => new Uint32Array(40)),
    stateSlots: Uint32Array.from(rows, ({ slot }) => slot),
    samples: [],
  };
}

/** Keeps for each place and position of the window which inputs have been summed, and by whose text. */
class Places {
  readonly #sums = new Map<number, Map<number, string[]>>();

  add(
    { firstInput, endInput, firstOutput, endOutput, adds }: OnlineSum,
    slot: number,
    text: readonly string[],
  ) {
    const kept = this.#sums.get(slot) ?? new Map<number, string[]>();
    this.#sums.set(slot, kept);
    for (let output = firstOutput; output < endOutput; output++) {
      const place = output % SHAPE.window, inputs = text.slice(firstInput, endInput);
      ok(inputs.length === endInput - firstInput, "an input is summed before it is known");
      kept.set(place, adds ? [...kept.get(place) ?? [], ...inputs] : inputs);
    }
  }

  of(slot: number, position: number): string[] {
    return this.#sums.get(slot)?.get(position % SHAPE.window) ?? [];
  }
}

/** Checks that kept sums and nearby inputs are all that came before. */
function checkRow(slots: Places, slot: number, text: readonly string[], position: number) {
  const near = position - position % SHAPE.square;
  deepStrictEqual([...slots.of(slot, position), ...text.slice(near, position)], text.slice(0, position));
}

Deno.test("OnlineSums covers every pair once, token by token", () => {
  const online = new OnlineSums(SHAPE, LIMITS), slots = new Places(), text: string[] = [];
  let numSums = 0, pairs = 0;
  for (let position = 0; position < 600; position++) {
    const { sums, places: [place] } = online.before(batchOf([{ slot: 2, position }]));
    for (const sum of sums) {
      slots.add(sum, place, text);
      numSums++;
      pairs += (sum.endInput - sum.firstInput) * (sum.endOutput - sum.firstOutput);
    }
    checkRow(slots, place, text, position);
    text.push(`${position}`);
  }
  equal(numSums, Math.ceil(600 / SHAPE.square));
  // All before windows, and half of what is in them.
  ok(pairs < 600 * 600 / 2 + 600 * SHAPE.window, `${pairs} pairs`);
});

Deno.test("OnlineSums begins anew wherever it has to: chunks, rewound texts, other sequences, copied states", () => {
  const seed = testSeed(), random = new Random(seed);
  console.log(`  HYADES_TEST_SEED=${seed}`);
  for (let round = 0; round < 20; round++) {
    const online = new OnlineSums(SHAPE, LIMITS), slots = new Places();
    /** Of each slot. */
    const texts: string[][] = [[], [], [], [], []];
    const saved: string[][] = Array.from({ length: 12 }, () => []);
    let name = 0;
    for (let step = 0; step < 400; step++) {
      const copies: StateCopy[] = [], rows: Row[] = [];
      texts.forEach((text, slot) => {
        const what = random.below(40);
        if (what < 8 || rows.length === LIMITS.maxSequences) return; // Not in this step.
        if (what === 8 || text.length > 560) texts[slot] = []; // Another sequence, from its beginning.
        else if (what === 9) { // Another one that goes on from somewhere.
          texts[slot] = Array.from({ length: random.below(500) }, () => `${name++}`);
          copies.push({ from: 99, to: slot });
        } else if (what === 10) text.length -= random.below(Math.min(text.length + 1, 5)); // Drafts that were wrong.
        else if (what === 12) { // Its state is kept.
          const to = random.below(saved.length);
          saved[to] = [...text];
          copies.push({ from: slot, to: 10 + to });
        } else if (what === 13) { // Back to a state that was kept, its own or another's.
          const from = random.below(saved.length);
          texts[slot] = [...saved[from]];
          copies.push({ from: 10 + from, to: slot });
        }
        rows.push({ slot, position: texts[slot].length, rows: what === 11 ? 2 + random.below(40) : 1 });
      });
      const { sums, places } = online.before({ ...batchOf(rows), stateCopies: copies });
      for (const sum of sums) slots.add(sum, places[sum.sequence], texts[rows[sum.sequence].slot]);
      rows.forEach(({ slot, position, rows: count = 1 }, s) => {
        if (count === 1) checkRow(slots, places[s], texts[slot], position);
        for (let i = 0; i < count; i++) texts[slot].push(`${name++}`);
      });
    }
  }
});

Deno.test("OnlineSums has nothing to do for a row that runs again", () => {
  const online = new OnlineSums(SHAPE, LIMITS);
  const numSums = (position: number) => online.before(batchOf([{ slot: 0, position }])).sums.length;
  deepStrictEqual([numSums(256), numSums(256), numSums(257), numSums(256), numSums(257)], [1, 0, 0, 0, 0]);
});

Deno.test("OnlineSums keeps the sums of a text that gets its own state back, and of no other", () => {
  const online = new OnlineSums(SHAPE, LIMITS);
  const numSums = (row: Row, copies: readonly StateCopy[] = []) =>
    online.before({ ...batchOf([row]), stateCopies: copies }).sums.length;
  // Drafts after a state that was kept, all of them wrong; then another text's state, then the own one again.
  deepStrictEqual([
    numSums({ slot: 0, position: 258 }),
    numSums({ slot: 0, position: 259, rows: 4 }, [{ from: 0, to: 7 }]),
    numSums({ slot: 0, position: 259 }, [{ from: 7, to: 0 }]),
    numSums({ slot: 1, position: 259 }),
    numSums({ slot: 0, position: 260 }, [{ from: 1, to: 0 }]),
    numSums({ slot: 0, position: 260 }, [{ from: 7, to: 0 }]),
  ], [1, 0, 0, 1, 1, 1]);
  // Back to a state from before the text went another way.
  deepStrictEqual([
    numSums({ slot: 2, position: 250 }),
    numSums({ slot: 2, position: 251, rows: 9 }, [{ from: 2, to: 8 }]),
    numSums({ slot: 2, position: 260 }, [{ from: 2, to: 9 }]),
    numSums({ slot: 2, position: 251, rows: 9 }, [{ from: 8, to: 2 }]),
    numSums({ slot: 2, position: 260 }),
    numSums({ slot: 2, position: 260 }, [{ from: 9, to: 2 }]),
  ], [1, 0, 1, 0, 1, 1]);
});

Deno.test("OnlineSums makes sums anew after a step that has not run", () => {
  const online = new OnlineSums(SHAPE, LIMITS);
  const rows = [0, 1, 2, 3].map((slot) => ({ slot, position: 256 + slot }));
  const places = [online.before(batchOf(rows)).places, online.before(batchOf(rows)).places];
  online.forgetAll();
  const { sums, places: again } = online.before(batchOf(rows));
  equal(sums.length, 4);
  deepStrictEqual(places[1], places[0]);
  equal(new Set(again).size, 4);
});

Deno.test("OnlineSums sums for no output beyond the context, and none twice in a step", () => {
  for (let position = 0; position < 640; position++) {
    const { sums } = new OnlineSums(SHAPE, LIMITS).before(batchOf([{ slot: 0, position }]));
    const outputs = sums.flatMap(({ firstOutput, endOutput }) =>
      Array.from({ length: endOutput - firstOutput }, (_, i) => firstOutput + i)
    );
    equal(new Set(outputs).size, outputs.length);
    ok(outputs.length <= SHAPE.window && Math.max(...outputs) < 640, `position ${position}`);
  }
});

Deno.test("OnlineSums has the largest sums transformed, as many as a step has room for", () => {
  const online = new OnlineSums({ ...SHAPE, transforms: { room: 1100, worth: 30 } }, LIMITS);
  // 128 outputs of 512, 384, 256 and 0 inputs.
  const { sums, transforms } = online.before(
    batchOf([512, 384, 256, 0].map((position, slot) => ({ slot, position }))),
  );
  const shown = ({ sequence, firstInput, endOutput }: OnlineSum) => [sequence, firstInput, endOutput];
  deepStrictEqual(transforms.map(shown), [[0, 0, 640], [2, 0, 384]]);
  deepStrictEqual(sums.map(shown), [[1, 0, 512], [3, 0, 128]]);
  const next = online.before(batchOf([{ slot: 0, position: 576 }]));
  // 64 outputs of 576 inputs, to where the window ends.
  deepStrictEqual([next.transforms.map(shown), next.sums], [[[0, 0, 640]], []]);
});

Deno.test("OnlineSums refuses shapes that do not divide", () => {
  for (const [window, square] of [[96, 32], [128, 8], [32, 64]]) {
    throws(() => new OnlineSums({ window, square }, LIMITS), RangeError);
  }
});
