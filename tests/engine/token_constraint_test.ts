// Masks on their way through scheduler and batch: what a step may hold, and who waits.
import assert from "node:assert/strict";
import { packBatch } from "../../engine/batch.ts";
import { Scheduler } from "../../engine/scheduler.ts";
import { Sequence, type SequenceOptions } from "../../engine/sequence.ts";
import type { TokenConstraint } from "../../engine/token_constraint.ts";
import { maskOf, MAX_MASKS } from "../../kernels/sampling/token_mask.ts";
import { FAKE_LIMITS } from "./fake_runner.ts";

function sequence(promptLength: number, maxTokens: number, options: Partial<SequenceOptions> = {}): Sequence {
  const promptIds = Array.from({ length: promptLength }, (_, i) => i);
  const params = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] } as const;
  return new Sequence({ promptIds, maxTokens, params, ...options });
}

/** A constraint that says what it is set to. */
function set(next: TokenConstraint["next"]): TokenConstraint & { next: TokenConstraint["next"] } {
  return { next, ended: false, accept: () => {}, [Symbol.dispose]: () => {} };
}

Deno.test("Scheduler puts no more masks into a step than fit, and runs who waits for one in the next", () => {
  const places = MAX_MASKS + 3;
  const limits = {
    ...FAKE_LIMITS,
    maxTokens: 256,
    maxSequences: places,
    maxSamples: places,
    numBlocks: 2 * places,
  };
  const scheduler = new Scheduler(limits);
  const mask = maskOf([7], 300);
  const masked = Array.from({ length: places }, () => sequence(2, 9, { constraint: set(mask) }));
  const free = sequence(2, 9);
  for (const one of [...masked, free]) scheduler.add(one);
  const step = scheduler.schedule();
  assert.equal(step.filter(({ allowed }) => allowed === mask).length, MAX_MASKS);
  assert.deepEqual(packBatch(step).samples.filter(({ allowed }) => allowed).length, MAX_MASKS);
  const waiting = step.filter(({ draws }) => !draws).map(({ sequence }) => sequence);
  assert.ok(waiting.length === 3 && waiting.every((one) => one.constrained));
  scheduler.complete(step, step.map(() => []), 1);
  for (const { sequence, draws } of step) if (draws) scheduler.finish(sequence);
  const next = scheduler.schedule();
  for (const one of waiting) assert.ok(next.some(({ sequence, draws }) => sequence === one && draws));
});

Deno.test("Scheduler draws nothing for a sequence whose mask is pending, but reads its prompt and lets others draw", () => {
  const scheduler = new Scheduler(FAKE_LIMITS);
  const constraint = set("pending");
  const pending = sequence(5, 3, { constraint }), free = sequence(2, 3);
  scheduler.add(pending);
  scheduler.add(free);
  const step = scheduler.schedule();
  const rowsOf = (wanted: Sequence) => {
    const { numTokens, draws } = step.find(({ sequence }) => sequence === wanted)!;
    return { numTokens, draws };
  };
  assert.deepEqual(rowsOf(pending), { numTokens: 4, draws: false });
  assert.deepEqual(rowsOf(free), { numTokens: 2, draws: true });
  scheduler.complete(step, step.map(() => []), 1);
  scheduler.finish(free);
  assert.deepEqual(scheduler.schedule(), []);
  assert.ok(pending.constrained);
  constraint.next = "any";
  assert.ok(!pending.constrained);
  assert.deepEqual(scheduler.schedule().map(({ numTokens, draws, allowed }) => [numTokens, draws, allowed]), [
    [1, true, undefined],
  ]);
});
