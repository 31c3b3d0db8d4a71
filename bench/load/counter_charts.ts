// Charts of what a server's /metrics told while a load ran.
import type { CounterSample } from "./counter_sampler.ts";
import { growth, ratio } from "./server_counters.ts";
import type { Chart, Series } from "./svg_chart.ts";

/** Samples of one run, and what the run is called. */
export interface SampledRun {
  readonly label: string;
  /** On the clock of `performance.now()`; seconds count from here. */
  readonly startedAt: number;
  readonly samples: readonly CounterSample[];
}

/** A hit ratio is that of the last seconds: one sample alone may hold no finished prompt. */
const RATIO_WINDOW_MS = 3000;

export function counterCharts(runs: readonly SampledRun[]): Chart[] {
  const x = { label: "seconds" };
  const charts: Chart[] = [
    {
      name: "occupancy",
      title: "Sequences that run",
      x,
      y: { label: "sequences" },
      series: runs.map((run) => line(run, ({ counters }) => counters.running)),
    },
    {
      name: "waiting",
      title: "Sequences that wait",
      x,
      y: { label: "sequences" },
      series: runs.map((run) => line(run, ({ counters }) => counters.waiting)),
    },
    {
      name: "hit-ratio",
      title: "Prompt tokens found in the cache, of the last 3 seconds",
      x,
      y: { label: "%", max: 100 },
      series: runs.map(hitRatios),
    },
  ];
  return charts.filter(({ series }) => series.some(({ points }) => points.length > 0));
}

function line(run: SampledRun, valueOf: (sample: CounterSample) => number | undefined): Series {
  const points = run.samples.map((sample) => [seconds(run, sample), valueOf(sample)] as const);
  return { label: run.label, points: points.filter(isKnown) };
}

function hitRatios(run: SampledRun): Series {
  const points = run.samples.map((sample) => {
    const earlier = run.samples.findLast(({ at }) => at <= sample.at - RATIO_WINDOW_MS) ?? run.samples[0];
    const hits = growth("cachedTokens", earlier.counters, sample.counters);
    const share = ratio(hits, growth("queriedTokens", earlier.counters, sample.counters));
    return [seconds(run, sample), share === undefined ? undefined : share * 100] as const;
  });
  return { label: run.label, points: points.filter(isKnown) };
}

function seconds({ startedAt }: SampledRun, { at }: CounterSample): number {
  return (at - startedAt) / 1000;
}

function isKnown(point: readonly [number, number | undefined]): point is readonly [number, number] {
  return point[1] !== undefined;
}
