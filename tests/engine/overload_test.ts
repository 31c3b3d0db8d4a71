// More live requests than the machine can serve, on a simulated clock: those that it serves must still be in time.
import assert from "node:assert/strict";
import { Scheduler } from "../../engine/scheduler.ts";
import type { Priority } from "../../engine/priority.ts";
import { Sequence } from "../../engine/sequence.ts";
import type { StepPace } from "../../engine/step_pace.ts";
import type { SamplingParams, StepLimits } from "../../kernels/step.ts";
import { Random } from "../kernels/random.ts";

const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] };
const LIMITS: StepLimits = {
  maxTokens: 256,
  maxSequences: 16,
  maxSamples: 16,
  maxBlocksPerSequence: 128,
  numBlocks: 4096,
};
const SECONDS = 60;
const BOUND_MS = 500;
const NEW_TOKENS = 24;

interface Load {
  /** Milliseconds. */
  readonly step: number;
  readonly row: number;
  readonly pace: StepPace;
  /** Tokens. */
  readonly shortest: number;
  readonly longest: number;
}

/** Of two CPU cores and the default model, about: as a rule, and when the machine has other things to do. */
const SHORT: Load = {
  step: 1,
  row: 0.8,
  pace: { chunkRows: 18, promptRows: 38, backgroundRows: 8 },
  shortest: 40,
  longest: 160,
};
const LONG: Load = {
  step: 3,
  row: 0.8,
  pace: { chunkRows: 26, promptRows: 36, backgroundRows: 6 },
  shortest: 120,
  longest: 400,
};

/** Requests a second whose first token comes within the bound, of Poisson arrivals that have nothing in common. */
function goodput(
  rate: number,
  { step: stepMs, row: rowMs, pace, shortest, longest }: Load,
  priority: Priority = "live",
) {
  const scheduler = new Scheduler(LIMITS), random = new Random(7);
  const arrivedAt = new Map<Sequence, number>();
  let now = 0, nextAt = 0, good = 0, made = 0;
  while (now < SECONDS * 1000) {
    for (; nextAt <= now; nextAt += -Math.log(1 - random.uniform()) * 1000 / rate) {
      const length = shortest + Math.floor(random.uniform() * (longest - shortest));
      const promptIds = [made++, ...new Array(length - 1).fill(0)];
      const one = new Sequence({ promptIds, maxTokens: NEW_TOKENS, params: GREEDY, priority });
      scheduler.add(one);
      arrivedAt.set(one, nextAt);
    }
    const step = scheduler.schedule(pace);
    if (step.length === 0) {
      now = nextAt;
      continue;
    }
    now += stepMs + rowMs * step.reduce((sum, { numTokens }) => sum + numTokens, 0);
    scheduler.complete(step, step.map(({ draws }) => draws ? [0] : []), 1);
    for (const { sequence, draws } of step) {
      if (!draws) continue;
      if (sequence.numGenerated === 1 && now - arrivedAt.get(sequence)! <= BOUND_MS) good++;
      if (sequence.numGenerated >= NEW_TOKENS) scheduler.finish(sequence);
    }
  }
  return good / arrivedAt.size * rate;
}

Deno.test("Scheduler serves nine tenths of its best in time at twice the rate that it can serve", () => {
  const rates = [2, 4, 6, 8, 10, 12];
  const all = rates.map((rate) => [rate, goodput(rate, SHORT)]);
  const peak = Math.max(...all.map(([, good]) => good));
  const [saturation] = all.findLast(([rate, good]) => good >= 0.95 * rate)!;
  for (const times of [2, 4]) {
    const good = goodput(times * saturation, SHORT);
    assert.ok(good >= 0.9 * peak, `${good} of ${times * saturation} a second, at best ${peak}; all: ${all}`);
  }
});

Deno.test("Scheduler serves nine tenths of its best in time at any higher rate, though the oldest waits for long", () => {
  let best = 0;
  for (const rate of [1, 2, 3, 4, 6, 8]) {
    const good = goodput(rate, LONG);
    assert.ok(good >= 0.9 * best, `${good} of ${rate} a second, at best ${best}`);
    best = Math.max(best, good);
  }
});

Deno.test("Scheduler serves next to none in time in the order of arrival, which batch work keeps", () => {
  assert.ok(goodput(6, SHORT, "batch") > 0.9 * 6, "below saturation the order matters little");
  assert.ok(goodput(24, SHORT, "batch") < 2, `${goodput(24, SHORT, "batch")} of 24 a second`);
  assert.ok(goodput(24, SHORT) > 6, `${goodput(24, SHORT)} of 24 a second`);
});
