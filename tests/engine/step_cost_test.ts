// What steps are expected to take, learnt from what steps took.
import assert from "node:assert/strict";
import { StepCost } from "../../engine/step_cost.ts";

/** Steps of a machine that takes `fixedMs` for a step and `msPerRow` for each row of it. */
function learn(cost: StepCost, rows: readonly number[], fixedMs: number, msPerRow: number) {
  for (const count of rows) cost.record(count, fixedMs + msPerRow * count);
}

Deno.test("StepCost finds what a step costs and what a row does", () => {
  const cost = new StepCost();
  learn(cost, [1, 64, 8, 1, 1, 32], 3, 0.5);
  assert.ok(Math.abs(cost.msOf(100) - 53) < 1e-6);
  assert.equal(cost.rowsWithin(8.001), 10);
  assert.equal(cost.rowsWithin(2), 0);
});

Deno.test("StepCost promises nothing before the first step, and takes rows for the cost where all had as many", () => {
  const cost = new StepCost();
  assert.equal(cost.rowsWithin(1), Infinity);
  assert.equal(cost.msOf(10), 0);
  learn(cost, [4, 4, 4], 0, 2);
  assert.equal(cost.rowsWithin(8.001), 4);
  assert.ok(Math.abs(cost.msOf(8) - 16) < 1e-6);
});

Deno.test("StepCost gives no part of a step a cost below none, whatever the clock says", () => {
  const cost = new StepCost();
  for (const [rows, ms] of [[1, 10], [64, 5], [1, 9], [64, 6]]) cost.record(rows, ms);
  assert.ok(cost.msOf(1) > 0 && cost.msOf(1) <= cost.msOf(64));
  assert.equal(cost.rowsWithin(1000), Infinity);
});

Deno.test("StepCost follows a machine that becomes slower", () => {
  const cost = new StepCost();
  const rows = Array.from({ length: 400 }, (_, i) => 1 + i % 16);
  learn(cost, rows, 1, 0.1);
  learn(cost, rows, 2, 1);
  assert.ok(Math.abs(cost.msOf(10) - 12) < 0.1, `${cost.msOf(10)} ms`);
});

Deno.test("StepCost is led astray by no single step that had to wait for something, not even the first", () => {
  for (const before of [0, 60]) {
    const cost = new StepCost();
    learn(cost, Array.from({ length: before }, (_, i) => 1 + i % 9 * 30), 4, 0.05);
    cost.record(256, 5000);
    learn(cost, Array.from({ length: 60 }, (_, i) => i % 4 > 0 ? 4 : 64), 4, 0.05);
    assert.ok(cost.rowsWithin(16) > 180, `${cost.rowsWithin(16)} of 240 rows`);
  }
});
