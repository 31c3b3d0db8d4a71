// Open-loop load: requests arrive when they arrive, whether or not earlier ones are answered, as with many people. The
// rate rises until the server is saturated; then that rate and multiples of it, by turns, show whether it still does its
// work.
import { arrivalTimes } from "./arrivals.ts";
import { complete, type Outcome } from "./client.ts";
import type { SourceFile } from "./code_corpus.ts";
import { type CounterSample, CounterSampler, pause, readCounters } from "./counter_sampler.ts";
import { Flood } from "./flood.ts";
import type { LoadOptions } from "./options.ts";
import { randomJob } from "./random_job.ts";
import { nextRate, type RateResult, saturationRate } from "./saturation.ts";
import { SeededRandom } from "./seeded_random.ts";
import type { ServerCounters } from "./server_counters.ts";
import type { Target } from "./target.ts";

/** What was measured at one rate. */
export interface Phase {
  readonly purpose: "search" | "saturation" | "without flood" | "beside flood";
  readonly askedRate: number;
  readonly seconds: number;
  readonly startedAt: number;
  readonly outcomes: readonly Outcome[];
  /** Milliseconds that this side sent its latest request after its time: above a few, the load was not as asked. */
  readonly latestSendMs: number;
  readonly floodCompleted: number;
  readonly before: ServerCounters | undefined;
  readonly after: ServerCounters | undefined;
}

export interface OpenLoopRun {
  readonly label: string;
  readonly startedAt: number;
  readonly phases: readonly Phase[];
  readonly saturation: number | undefined;
  readonly samples: readonly CounterSample[];
}

/** Of the saturation rate: what is measured by turns once it is found. */
const SATURATION_TIMES = [1, 2, 4];
const SAMPLE_MS = 250;
/** What is not answered this long after the last arrival is cut off. */
const DRAIN_MS = 10_000;
const MAX_PHASES = 16;
const MAX_REQUESTS = 20_000;
const FLOOD_TOKENS = 256;

/** @param onProgress told of each phase, and the share of it that is over */
export async function runOpenLoop(
  target: Target,
  corpus: readonly SourceFile[],
  options: LoadOptions,
  onProgress: (phase: string, share: number) => void,
): Promise<OpenLoopRun> {
  await using sampler = new CounterSampler(target.endpoint, SAMPLE_MS);
  const startedAt = performance.now();
  const phases: Phase[] = [];
  async function measure(purpose: Phase["purpose"], rate: number, flood = 0): Promise<void> {
    const label = `${rate.toFixed(1)} requests a second`;
    const seed = options.seed + phases.length;
    phases.push(
      await runPhase(target, corpus, { ...options, purpose, rate, flood, seed }, (share) => {
        onProgress(label, share);
      }),
    );
  }
  const search = { firstRate: options.rate, refinements: options.refine, maxRate: options.maxRate };
  const resultOf = (phase: Phase): RateResult => rateResult(phase, options);
  for (;;) {
    const rate = nextRate(phases.map(resultOf), search);
    if (rate === undefined || phases.length >= MAX_PHASES || rate * options.seconds > MAX_REQUESTS) break;
    await measure("search", rate);
  }
  const saturation = saturationRate(phases.map(resultOf));
  if (saturation !== undefined) {
    for (let round = 0; round < options.rounds; round++) {
      for (const times of SATURATION_TIMES) await measure("saturation", times * saturation);
    }
    if (options.flood > 0) {
      await measure("without flood", saturation / 2);
      await measure("beside flood", saturation / 2, options.flood);
    }
  }
  return { label: target.label, startedAt, phases, saturation, samples: sampler.samples };
}

/** Requests and outcomes of several phases at one rate as those of one; what the server counts is left out. */
export function pooledPhase(phases: readonly Phase[]): Phase {
  return {
    ...phases[0],
    seconds: phases.reduce((sum, { seconds }) => sum + seconds, 0),
    outcomes: phases.flatMap(({ outcomes }) => outcomes),
    latestSendMs: Math.max(...phases.map(({ latestSendMs }) => latestSendMs)),
    floodCompleted: phases.reduce((sum, { floodCompleted }) => sum + floodCompleted, 0),
    before: undefined,
    after: undefined,
  };
}

/** The asked rate stands for what arrived, so that the search's steps are what they should be; goodput is scaled alike. */
export function rateResult(phase: Phase, bounds: Pick<LoadOptions, "ttftBound" | "totalBound">): RateResult {
  const { askedRate, outcomes } = phase;
  const good = outcomes.filter((outcome) => isGood(outcome, bounds)).length;
  return { rate: askedRate, goodput: outcomes.length > 0 ? good / outcomes.length * askedRate : askedRate };
}

export function isGood(
  { kind, firstMs, totalMs }: Pick<Outcome, "kind" | "firstMs" | "totalMs">,
  { ttftBound, totalBound }: Pick<LoadOptions, "ttftBound" | "totalBound">,
): boolean {
  return kind === "complete" && firstMs! <= ttftBound && totalMs <= totalBound;
}

interface PhaseOptions extends LoadOptions {
  readonly purpose: Phase["purpose"];
}

async function runPhase(
  target: Target,
  corpus: readonly SourceFile[],
  options: PhaseOptions,
  onProgress: (share: number) => void,
): Promise<Phase> {
  const { rate, seconds, seed, flood } = options;
  const random = new SeededRandom(seed, 1), floodRandom = new SeededRandom(seed, 2);
  const times = arrivalTimes(options.process, rate, seconds, random).slice(0, MAX_REQUESTS);
  const before = await readCounters(target.endpoint);
  const floodJob = () => randomJob(corpus, floodRandom, options, FLOOD_TOKENS);
  const stop = new AbortController();
  const pending: Promise<Outcome>[] = [];
  let latestSendMs = 0, floodCompleted = 0;
  const startedAt = performance.now();
  let outcomes: Outcome[];
  {
    await using batch = new Flood(target.endpoint, { width: flood, nextJob: floodJob });
    for (const time of times) {
      await pause(startedAt + time - performance.now());
      latestSendMs = Math.max(latestSendMs, performance.now() - startedAt - time);
      const job = randomJob(corpus, random, options, options.maxTokens);
      pending.push(complete(target.endpoint, job, { signal: stop.signal }));
      onProgress(time / (seconds * 1000));
    }
    const late = setTimeout(() => stop.abort(), DRAIN_MS);
    outcomes = await Promise.all(pending);
    clearTimeout(late);
    floodCompleted = batch.outcomes.filter(({ kind }) => kind === "complete").length;
  }
  const after = await readCounters(target.endpoint);
  const { purpose } = options;
  return {
    purpose,
    askedRate: rate,
    seconds,
    startedAt,
    outcomes,
    latestSendMs,
    floodCompleted,
    before,
    after,
  };
}
