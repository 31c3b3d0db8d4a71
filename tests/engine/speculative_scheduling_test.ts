// Drafts take only what a step has left: on a simulated clock, with drafts that are all wrong, everybody gets the same
// rows in the same steps as without any; and where wrong ones have to be computed again, everybody that decodes still draws
// in every step.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import type { SamplingParams, StepLimits } from "../../kernels/step.ts";
import { PRIORITIES } from "../../engine/priority.ts";
import { Progress } from "../../engine/progress.ts";
import { Scheduler } from "../../engine/scheduler.ts";
import { Sequence } from "../../engine/sequence.ts";
import { MAX_DRAFT_TOKENS, Speculation } from "../../engine/speculation.ts";
import { heldDraws, type ScheduledSequence } from "../../engine/step_budget.ts";

const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: [0, 0] };

const arrivals = fc.array(
  fc.record({
    priority: fc.constantFrom("live" as const, ...PRIORITIES),
    key: fc.constantFrom("a", "b", "c"),
    promptLength: fc.oneof(fc.integer({ min: 4, max: 12 }), fc.integer({ min: 60, max: 120 })),
    maxTokens: fc.integer({ min: 1, max: 60 }),
    afterSteps: fc.nat(8),
    adjusted: fc.boolean(),
  }),
  { minLength: 1, maxLength: 12 },
);
type Arrivals = typeof arrivals extends { generate(...args: never[]): { value: infer T } } ? T : never;

const stepLimits = fc.record({
  maxTokens: fc.integer({ min: 8, max: 64 }),
  maxSequences: fc.integer({ min: 1, max: 5 }),
  maxSamples: fc.integer({ min: 5, max: 24 }),
  maxBlocksPerSequence: fc.constant(16),
  numBlocks: fc.integer({ min: 16, max: 40 }),
});

function sequencesOf(trace: Arrivals): Sequence[] {
  return trace.map(({ priority, key, promptLength, maxTokens, adjusted }, index) =>
    new Sequence({
      promptIds: Array.from({ length: promptLength }, (_, i) => 10 * index + i % 3),
      ...{ maxTokens, params: GREEDY, priority, flow: { key, session: "" } },
      ...(adjusted && { adjustments: () => new Array(700).fill({ id: 1, delta: 1 }) }),
    })
  );
}

/** Two tokens over and over, by which a draft is found, then one that never was before. */
function drawn({ sequence, drafts }: ScheduledSequence): number[] {
  const place = sequence.numGenerated % 3;
  const next = place === 2 ? 1000 * (1 + sequence.arrival) + sequence.numGenerated : 500 + place;
  return new Array(1 + drafts.length).fill(next);
}

interface Run {
  /** Every row that is no draft: which sequence's, from where, how many, and whether a token is drawn. */
  readonly rows: (readonly [step: number, sequence: number, start: number, rows: number, draws: boolean])[];
  readonly preemptions: number;
  readonly drafted: number;
  /** Rows computed again because of drafts. */
  readonly redone: number;
}

function run(trace: Arrivals, limits: StepLimits, speculation: Speculation | undefined): Run {
  const scheduler = new Scheduler(limits, { speculation });
  const sequences = sequencesOf(trace), rows: Run["rows"] = [];
  let steps = 0, drafted = 0, redone = 0;
  function tick(): boolean {
    steps++;
    const decoding = scheduler.places.running.filter((one) =>
      one.rank === 0 && Progress.now.isDecode(one) && one.adjustments().length === 0
    );
    const step = scheduler.schedule();
    for (const one of decoding.filter((one) => Progress.now.isDecode(one))) {
      assert.ok(step.some(({ sequence, draws }) => sequence === one && draws), "a decode waits");
    }
    redone += step.reduce((sum, { sequence }) => sum + sequence.numToRedo, 0);
    const [tokens, samples] = [0, 0].map((_, i) =>
      step.reduce((sum, one) => sum + (i === 0 ? one.numTokens : one.draws ? 1 + one.drafts.length : 0), 0)
    );
    assert.ok(tokens <= limits.maxTokens && samples <= limits.maxSamples);
    for (const { sequence, start, numTokens, draws, drafts } of step) {
      assert.ok(drafts.length === 0 || draws && drafts.length <= MAX_DRAFT_TOKENS);
      assert.ok(start + numTokens <= 16 * sequence.blockTable.length);
      rows.push([steps, sequences.indexOf(sequence), start, numTokens - drafts.length, draws]);
      drafted += drafts.length;
    }
    scheduler.complete(step, step.map((one) => one.draws ? heldDraws(one, drawn(one)) : []), 1);
    for (const one of sequences.filter(({ state }) => state === "running")) {
      assert.ok(one.blockTable.length <= Math.ceil(one.numTokens / 16), "what was lent is given back");
      if (one.promptDone && one.numGenerated >= one.maxTokens) scheduler.finish(one);
    }
    scheduler.places.checkIntegrity();
    return step.length > 0;
  }
  for (const [index, { afterSteps }] of trace.entries()) {
    for (let i = 0; i < afterSteps; i++) tick();
    scheduler.add(sequences[index]);
  }
  while (tick());
  assert.equal(scheduler.places.numFreeBlocks, limits.numBlocks);
  return { rows, preemptions: scheduler.places.numPreemptions, drafted, redone };
}

Deno.test("Speculation that is always wrong takes no row, block or place from anybody", () => {
  let drafted = 0, preemptions = 0;
  fc.assert(
    fc.property(arrivals, stepLimits, (trace, limits) => {
      const { drafted: rows, ...having } = run(trace, limits, new Speculation({ firstChance: 1 }));
      const { drafted: _, ...without } = run(trace, limits, undefined);
      assert.deepEqual(having, without);
      drafted += rows;
      preemptions += having.preemptions;
    }),
    { numRuns: 300 },
  );
  assert.ok(
    drafted > 1000 && preemptions > 50,
    `too tame: ${drafted} rows of drafts, ${preemptions} preemptions`,
  );
});

Deno.test("Speculation that is always wrong keeps nobody from drawing where its rows are computed again", () => {
  let drafted = 0, redone = 0;
  fc.assert(
    fc.property(arrivals, stepLimits, fc.integer({ min: 1, max: 9 }), (trace, limits, numStateSlots) => {
      const ran = run(trace, { ...limits, numStateSlots }, new Speculation({ firstChance: 1, redoes: true }));
      drafted += ran.drafted;
      redone += ran.redone;
    }),
    { numRuns: 200 },
  );
  assert.ok(drafted > 500 && redone > 200, `too tame: ${drafted} rows of drafts, ${redone} redone`);
});
