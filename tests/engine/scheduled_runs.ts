// Sequences run by a scheduler on a fake runner, step by step as the engine does.
import assert from "node:assert/strict";
import type { SamplingParams } from "../../kernels/step.ts";
import { packBatch } from "../../engine/batch.ts";
import { Scheduler } from "../../engine/scheduler.ts";
import { Sequence, type SequenceOptions } from "../../engine/sequence.ts";
import { heldDraws, type ScheduledSequence } from "../../engine/step_budget.ts";
import { FakeRunner, type NextToken } from "./fake_runner.ts";

export const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] };

export function sequence(
  promptLength: number,
  maxTokens: number,
  options: Partial<SequenceOptions> = {},
): Sequence {
  const promptIds = Array.from({ length: promptLength }, (_, i) => (i * 31 + promptLength) % 300);
  return new Sequence({ promptIds, maxTokens, params: GREEDY, ...options });
}

export interface Begun {
  readonly step: readonly ScheduledSequence[];
  readonly tokenIds: Uint32Array;
}

/**
 * Runs one step as the engine does.
 * @param ahead the step that has begun already, if any, and afterwards the one that has begun behind this one, if any
 * @returns the sequences that took part
 */
export function advance(scheduler: Scheduler, runner: FakeRunner, ahead?: Begun[]): Sequence[] {
  const begin = (step: readonly ScheduledSequence[]): Begun => ({
    step,
    tokenIds: runner.stepSync(packBatch(step, scheduler.beginMoves())).tokenIds,
  });
  let begun = ahead?.pop();
  if (!begun) {
    const scheduled = scheduler.schedule();
    if (scheduled.length === 0) return [];
    begun = begin(scheduled);
  }
  const { step, tokenIds } = begun;
  const next = ahead && scheduler.scheduleAhead(step);
  if (next) ahead.push(begin(next));
  let sample = 0;
  const held = step.map((scheduled) => {
    const first = sample += scheduled.scoreEnd - scheduled.scoreStart;
    if (scheduled.draws) sample += 1 + scheduled.drafts.length;
    return scheduled.draws ? heldDraws(scheduled, tokenIds.subarray(first, sample)) : [];
  });
  scheduler.complete(step, held, 1);
  for (const { sequence } of step) {
    const done = sequence.promptDone && sequence.numGenerated >= sequence.maxTokens;
    if (done) scheduler.finish(sequence);
  }
  scheduler.places.checkIntegrity();
  return step.map(({ sequence }) => sequence);
}

export function finishAll(scheduler: Scheduler, runner: FakeRunner, mostSteps = 5000) {
  for (let i = 0; advance(scheduler, runner).length > 0; i++) assert.ok(i < mostSteps, "it never ends");
  assert.equal(
    scheduler.places.waiting.length + scheduler.places.running.length,
    0,
    "a sequence was left behind",
  );
  assert.equal(scheduler.places.numFreeBlocks, scheduler.places.numBlocks);
}

export function tokens(sequence: Sequence): number[] {
  return Array.from({ length: sequence.numTokens }, (_, i) => sequence.tokenId(i));
}

/** What the same sequence yields on a runner of its own, with room to spare. */
export function aloneTokens(like: Sequence, next?: NextToken): number[] {
  const limits = {
    maxTokens: 512,
    maxSequences: 1,
    maxSamples: 512,
    maxBlocksPerSequence: 32,
    numBlocks: 32,
  };
  const runner = new FakeRunner({ limits, ...(next && { next }) });
  const scheduler = new Scheduler(runner.limits);
  const { params, maxTokens } = like;
  const alone = new Sequence({ promptIds: tokens(like).slice(0, like.promptLength), params, maxTokens });
  scheduler.add(alone);
  finishAll(scheduler, runner);
  return tokens(alone);
}
