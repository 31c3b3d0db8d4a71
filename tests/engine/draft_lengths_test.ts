// Whether drafts pay: what is learned of chances and of costs, and what is chosen by them.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { DraftChances } from "../../engine/draft_chances.ts";
import { chooseDraftLengths } from "../../engine/draft_lengths.ts";
import { DrawCosts } from "../../engine/draw_costs.ts";

/** Chances of a draft whose every token is right with `p`. */
function chances(p: number, length = 15): number[] {
  return Array.from({ length }, (_, i) => p ** (i + 1));
}

const flat = () => 1;
/** As on two cores: a row more is a third of a step. */
const steep = (rows: number) => 1 + (rows - 1) / 3;

Deno.test("chooseDraftLengths() drafts all that is likely where rows cost nothing, and nothing before it knows", () => {
  assert.deepEqual(chooseDraftLengths([chances(0.9)], { numDraws: 1, room: 15, msOf: flat }), [15]);
  assert.deepEqual(chooseDraftLengths([chances(0.9)], { numDraws: 1, room: 4, msOf: flat }), [4]);
  assert.deepEqual(
    chooseDraftLengths([chances(0.5)], { numDraws: 1, room: 15, msOf: flat }),
    [4],
    "1/32 is little",
  );
  assert.deepEqual(chooseDraftLengths([chances(0.9)], { numDraws: 1, room: 15, msOf: () => undefined }), [0]);
  assert.deepEqual(chooseDraftLengths([], { numDraws: 3, room: 15, msOf: flat }), []);
});

Deno.test("chooseDraftLengths() retreats where rows are dear: with unlikely drafts, and with many that decode", () => {
  const alone = (p: number) => chooseDraftLengths([chances(p)], { numDraws: 1, room: 15, msOf: steep })[0];
  assert.deepEqual([0.2, 0.5, 0.8, 1].map(alone), [0, 1, 3, 15]);
  const together = (count: number) =>
    chooseDraftLengths(new Array(count).fill(chances(0.7)), { numDraws: count, room: 15, msOf: steep });
  assert.deepEqual(together(1), [2]);
  assert.ok(together(8).every((length) => length === 0), "eight rows keep two cores busy");
});

Deno.test("chooseDraftLengths() reaches over a stair, behind which rows are free", () => {
  const stairs = (rows: number) => rows === 1 ? 1 : 1.8;
  assert.deepEqual(chooseDraftLengths([chances(0.7)], { numDraws: 1, room: 15, msOf: stairs }), [7]);
});

Deno.test("chooseDraftLengths() lets nobody without a draft wait a quarter longer for somebody's", () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
      fc.integer({ min: 1, max: 8 }),
      (
        ps,
        others,
      ) => {
        const numDraws = ps.length + others;
        const lengths = chooseDraftLengths(ps.map((p) => chances(p)), { numDraws, room: 20, msOf: steep });
        const rows = lengths.reduce((sum, length) => sum + length, 0);
        assert.ok(rows <= 20 && steep(numDraws + rows) <= 1.25 * steep(numDraws));
      },
    ),
  );
});

Deno.test("DraftChances learns by the length of the match, keeps sources apart, and passes on to others", () => {
  const all = new DraftChances();
  assert.equal(all.chance("own", 2), 0.25);
  const one = new DraftChances(all);
  for (let i = 0; i < 2000; i++) {
    one.observe("own", 2, i % 10 === 0);
    one.observe("own", 20, i % 10 !== 0);
  }
  const near = (chance: number, wanted: number) =>
    assert.ok(Math.abs(chance - wanted) < 0.05, `${chance}, ${wanted}`);
  near(one.chance("own", 2), 0.1);
  near(one.chance("own", 32), 0.9);
  near(all.chance("own", 2), 0.1);
  near(one.chance("own", 5), 0.1); // Not seen: as the shorter ones.
  assert.equal(one.chance("recent", 2), 0.25);
  const other = new DraftChances(all);
  near(other.chance("own", 2), 0.1);
  for (let i = 0; i < 40; i++) other.observe("own", 2, true);
  assert.ok(other.chance("own", 2) > 0.9, "its own tokens say more than those of others");
});

Deno.test("DrawCosts tells what lies between measurements, and hopes for the better beyond them", () => {
  const costs = new DrawCosts();
  assert.equal(costs.ms(1), undefined);
  costs.record(2, 10);
  assert.deepEqual([1, 2, 9].map((rows) => costs.ms(rows)), [10, 10, 27.5]);
  costs.record(6, 30);
  assert.deepEqual([1, 2, 3, 6, 9].map((rows) => costs.ms(rows)), [10, 10, 15, 30, 37.5]);
});

Deno.test("DrawCosts follows what changes, minds no single pause, and forgets what is not measured again", () => {
  const costs = new DrawCosts();
  costs.record(8, 500); // The first step of a size compiles kernels, say.
  for (let i = 0; i < 3; i++) costs.record(8, 4);
  assert.equal(costs.ms(8), 4);
  costs.record(8, 1000);
  assert.ok(costs.ms(8)! <= 4.5);
  for (let i = 0; i < 100; i++) costs.record(8, 12);
  assert.ok(Math.abs(costs.ms(8)! - 12) < 0.1);
  for (let i = 0; i < 1100; i++) costs.record(1, 2);
  assert.equal(costs.ms(8), 9, "half of what eight steps of one row take: worth another try");
});
