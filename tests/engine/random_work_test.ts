// The scheduler under random arrivals, cancellations, drafts and scarce blocks and slots.
import assert from "node:assert/strict";
import fc from "../fast_check.ts";
import { BLOCK_SIZE, type SamplingParams, type StepLimits } from "../../kernels/step.ts";
import { PRIORITIES } from "../../engine/priority.ts";
import { BACKGROUND_EVERY, PATIENCE_STEPS, Scheduler } from "../../engine/scheduler.ts";
import type { Sequence } from "../../engine/sequence.ts";
import { Speculation } from "../../engine/speculation.ts";
import type { ScheduledSequence } from "../../engine/step_budget.ts";
import { testSeed } from "../kernels/random.ts";
import { FakeRunner, type NextToken } from "./fake_runner.ts";
import { advance, aloneTokens, type Begun, GREEDY, sequence, tokens } from "./scheduled_runs.ts";

const arrivals = fc.array(
  fc.record({
    promptLength: fc.integer({ min: 1, max: 60 }),
    /** Prompts are beginnings of one text that has, or has not, an edit here. */
    edit: fc.option(fc.nat(60), { nil: undefined }),
    space: fc.constantFrom("", "other key", undefined),
    maxTokens: fc.oneof(fc.nat(10), fc.integer({ min: 40, max: 68 })),
    numSamples: fc.integer({ min: 1, max: 3 }),
    scorePrompt: fc.boolean(),
    priority: fc.constantFrom(...PRIORITIES),
    flow: fc.record({ key: fc.constantFrom("", "k"), session: fc.constantFrom("", "s") }),
    seed: fc.option(fc.nat(1000), { nil: undefined }),
    atStep: fc.nat(25),
    cancelAfter: fc.option(fc.nat(30), { nil: undefined, freq: 3 }),
  }),
  { minLength: 4, maxLength: 14 },
);
const limits = fc.record({
  maxTokens: fc.integer({ min: 1, max: 40 }),
  maxSequences: fc.integer({ min: 1, max: 6 }),
  maxSamples: fc.integer({ min: 1, max: 12 }),
  maxBlocksPerSequence: fc.constant(8),
  numBlocks: fc.integer({ min: 8, max: 14 }),
  numHostBlocks: fc.constantFrom(0, 1, 3, 10, 50),
});

/** What three tokens before came next, but for every fifth token: drafts are right, and then wrong. */
const repeating: NextToken = (visible) => visible.length % 5 === 0 ? undefined : visible.at(-3);

class CountedDrafts extends Speculation {
  /** Drafts with a wrong one among them. */
  wrong = 0;

  override learn(step: readonly ScheduledSequence[], held: readonly (readonly number[])[], ms: number) {
    super.learn(step, held, ms);
    step.forEach(({ drafts }, index) =>
      this.wrong += held[index].length <= drafts.length && held[index].length > 0 ? 1 : 0
    );
  }
}

/** As `checkRandomWork`, of all runs. */
interface WorkTally {
  readonly seed: number;
  readonly steps: number;
  readonly preemptions: number;
  readonly cancelled: number;
  readonly reused: number;
  readonly copied: number;
  readonly returned: number;
  readonly begunAhead: number;
  readonly keptWithin: number;
  readonly sumsTaken: number;
  /** Drafts with a wrong one among them. */
  readonly wrong: number;
}

type Arrivals = typeof arrivals extends fc.Arbitrary<infer T> ? T : never;
type Work = [Arrivals, StepLimits, goesAhead: boolean, allLive: boolean, drafts: boolean];

const SHORT: Arrivals[number] = {
  promptLength: 1,
  edit: undefined,
  space: "",
  maxTokens: 40,
  numSamples: 1,
  scorePrompt: false,
  priority: "live",
  flow: { key: "", session: "" },
  seed: undefined,
  atStep: 0,
  cancelAfter: undefined,
};
const OTHER_KEY = { key: "k", session: "" } as const;

/**
 * Once a step was empty for ever: who came in took all samples, and then gave way to somebody for whom there was no room
 * all the same.
 */
const GAVE_WAY_IN_VAIN: Work = [
  [
    { ...SHORT, promptLength: 4, scorePrompt: true, flow: OTHER_KEY, atStep: 9 },
    SHORT,
    { ...SHORT, promptLength: 49, scorePrompt: true, flow: OTHER_KEY, atStep: 4 },
    { ...SHORT, maxTokens: 0, atStep: 10 },
    { ...SHORT, promptLength: 33, maxTokens: 46, numSamples: 2, flow: OTHER_KEY, atStep: 4, cancelAfter: 7 },
    { ...SHORT, promptLength: 35, space: "other key", numSamples: 2, atStep: 9, cancelAfter: 0 },
  ],
  { maxTokens: 33, maxSequences: 3, maxSamples: 4, maxBlocksPerSequence: 8, numBlocks: 9, numHostBlocks: 50 },
  true,
  false,
  true,
];

/** Random arrivals and cancellations: no block or slot is lost, the oldest goes on, and tokens are those of lone runs. */
function checkRandomWork(limits: fc.Arbitrary<StepLimits>, examples: Work[] = []): WorkTally {
  let steps = 0, preemptions = 0, cancelled = 0, reused = 0, copied = 0, returned = 0, begunAhead = 0;
  let keptWithin = 0, sumsTaken = 0, wrong = 0;
  const seed = testSeed();
  fc.assert(
    fc.property(
      arrivals,
      limits,
      fc.boolean(),
      fc.boolean(),
      fc.boolean(),
      (arrivals, limits, goesAhead, allLive, drafts) => {
        const hasStates = limits.numStateSlots !== undefined;
        const speculation = drafts ? new CountedDrafts({ firstChance: 0.9, redoes: hasStates }) : undefined;
        const next = drafts ? repeating : undefined;
        const scheduler = new Scheduler(limits, { goesAhead, snapshotTokens: 24, speculation });
        const runner = new FakeRunner({
          limits,
          ...(next && { next }),
          ...(hasStates && { online: { window: 32, square: BLOCK_SIZE } }),
        });
        const ahead: Begun[] | undefined = goesAhead ? [] : undefined;
        const all: Sequence[] = [];
        const cancelAt = new Map<Sequence, number>();
        let idle = 0;
        for (let now = 0;; now++) {
          for (const arrival of arrivals.filter(({ atStep }) => atStep === now)) {
            const {
              promptLength,
              edit,
              space,
              maxTokens,
              numSamples,
              scorePrompt,
              seed,
              cancelAfter,
              priority,
              flow,
            } = arrival;
            const promptIds = Array.from({ length: promptLength }, (_, i) => i === edit ? 299 : i * 31 % 300);
            const cacheSpace = space ?? Symbol("of one request");
            let leader: Sequence | undefined;
            for (let k = 0; k < numSamples; k++) {
              const params: SamplingParams = seed === undefined
                ? GREEDY
                : { ...GREEDY, temperature: 1, seed: [seed + k, 0] };
              const one: Sequence = sequence(promptLength, maxTokens, {
                promptIds,
                cacheSpace,
                priority: allLive ? "live" : priority,
                flow,
                params,
                scorePrompt: scorePrompt && !leader,
                ...(leader ? { leader } : { leads: numSamples > 1 }),
              });
              leader ??= one;
              all.push(one);
              scheduler.add(one);
              if (cancelAfter !== undefined && k !== 1) cancelAt.set(one, now + cancelAfter);
            }
          }
          for (const [one, at] of cancelAt) {
            if (at !== now || one.state === "finished") continue;
            scheduler.finish(one);
            cancelled++;
          }
          const [oldest] = [...scheduler.places.running, ...scheduler.places.waiting].sort((a, b) =>
            a.arrival - b.arrival
          );
          const took = advance(scheduler, runner, ahead);
          if (ahead?.length) begunAhead++;
          if (oldest && now - oldest.queuedAt >= PATIENCE_STEPS) {
            idle = took.includes(oldest) ? 0 : idle + 1;
            assert.ok(idle < BACKGROUND_EVERY, "the oldest made no progress");
          }
          steps++;
          const isIdle = took.length === 0 && scheduler.places.running.length > 0;
          assert.ok(!isIdle, "a step is empty while somebody runs");
          if (took.length === 0 && now > 25) break;
        }
        assert.equal(scheduler.places.numFreeBlocks, limits.numBlocks);
        assert.equal(scheduler.places.numFreeStateSlots, limits.numStateSlots ?? 0);
        preemptions += scheduler.places.numPreemptions;
        copied += runner.copiedRows;
        returned += runner.unparks;
        wrong += speculation?.wrong ?? 0;
        keptWithin += runner.keptStates;
        sumsTaken += runner.keptSums?.numTaken ?? 0;
        for (const one of all) {
          assert.equal(one.state, "finished");
          reused += one.numCachedTokens ?? 0;
          const alone = aloneTokens(one, next);
          if (!cancelAt.has(one)) assert.equal(one.numGenerated, one.maxTokens);
          assert.deepEqual(tokens(one), alone.slice(0, one.numTokens));
        }
      },
    ),
    { numRuns: 150, seed, examples },
  );
  return {
    seed,
    steps,
    preemptions,
    cancelled,
    reused,
    copied,
    returned,
    begunAhead,
    keptWithin,
    sumsTaken,
    wrong,
  };
}

/** Rates of what happens by chance are far below what they are as a rule: they say that it does happen. */
function assertNotTame(tally: WorkTally, least: Partial<WorkTally>) {
  for (const [what, bound] of Object.entries(least)) {
    assert.ok(tally[what as keyof WorkTally] > bound, `too tame, ${what}: ${JSON.stringify(tally)}`);
  }
}

Deno.test("Scheduler leaks no block, starves nobody, and gives every sequence the tokens of its lone run", () => {
  assertNotTame(checkRandomWork(limits, [GAVE_WAY_IN_VAIN]), {
    ...{
      steps: 3000,
      preemptions: 20,
      cancelled: 50,
      reused: 3000,
      copied: 1000,
      returned: 80,
      begunAhead: 500,
    },
  });
});

Deno.test("Scheduler does so with states too, of few slots, from which others and those who lost their place go on", () => {
  const withStates = fc.tuple(limits, fc.integer({ min: 1, max: 6 }), fc.constantFrom(0, 1, 9)).map(
    ([sizes, numStateSlots, maxKeptStates]) => ({ ...sizes, numStateSlots, maxKeptStates }),
  );
  assertNotTame(checkRandomWork(withStates), {
    ...{
      steps: 3000,
      preemptions: 50,
      cancelled: 50,
      reused: 2000,
      copied: 500,
      returned: 10,
      begunAhead: 300,
    },
    ...{ keptWithin: 100, sumsTaken: 1000, wrong: 100 },
  });
});
