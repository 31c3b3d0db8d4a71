// What open-loop loads amount to: a row for each rate, and how latency and goodput change with it.
import type { Outcome } from "./client.ts";
import { counterCharts } from "./counter_charts.ts";
import { type Findings, percent, type Table } from "./load_report.ts";
import { type OpenLoopRun, type Phase, pooledPhase, rateResult } from "./open_loop.ts";
import type { LoadOptions } from "./options.ts";
import { isSustained } from "./saturation.ts";
import { growth, ratio } from "./server_counters.ts";
import { spreadOf } from "./statistics.ts";
import type { Chart } from "./svg_chart.ts";

type Bounds = Pick<LoadOptions, "ttftBound" | "totalBound">;

/** The figures of one rate, by the names of the JSON lines; milliseconds, requests a second, shares from 0 to 1. */
export function phaseFigures(label: string, phase: Phase, bounds: Bounds) {
  const { outcomes, before, after } = phase;
  const complete = outcomes.filter(({ kind }) => kind === "complete");
  return {
    label,
    purpose: phase.purpose,
    rate: phase.askedRate,
    requests: outcomes.length,
    goodput: rateResult(phase, bounds).goodput,
    complete: complete.length,
    refused: count(outcomes, "refused"),
    cutOff: count(outcomes, "aborted"),
    failed: count(outcomes, "failed"),
    first: spreadOf(outcomes.flatMap(({ firstMs }) => firstMs ?? [])),
    gap: spreadOf(outcomes.flatMap(({ gapsMs }) => gapsMs)),
    total: spreadOf(complete.map(({ totalMs }) => totalMs)),
    cachedShare: ratio(growth("cachedTokens", before, after), growth("queriedTokens", before, after)),
    prefilledTokens: growth("prefilledTokens", before, after),
    floodCompleted: phase.floodCompleted,
    latestSendMs: phase.latestSendMs,
  };
}

export function openLoopFindings(runs: readonly OpenLoopRun[], bounds: Bounds): Findings {
  const records = runs.flatMap(({ label, phases }) => phases.map((one) => phaseFigures(label, one, bounds)));
  return {
    records,
    tables: runs.map((run) => rateTable(run, bounds)),
    charts: [...rateCharts(runs, bounds), ...timeCharts(runs)],
    notes: runs.flatMap((run) => saturationNotes(run, bounds)),
    faults: [],
  };
}

function rateTable({ label, phases }: OpenLoopRun, bounds: Bounds): Table {
  const total = Number.isFinite(bounds.totalBound) ? ` and the last within ${bounds.totalBound} ms` : "";
  return {
    title: `Open loop, ${label}`,
    columns: [
      ...["what for", "requests/s", "requests", "good/s", "TTFT p50, ms", "p95", "p99", "gap p50, ms", "p95"],
      ...["p99", "end to end p50, ms", "p95", "p99", "cached", "refused", "cut off", "failed"],
    ],
    rows: phases.map((phase) => phaseFigures(label, phase, bounds)).map((f) => [
      ...[f.purpose, f.rate, f.requests, f.goodput, f.first.p50, f.first.p95, f.first.p99],
      ...[f.gap.p50, f.gap.p95, f.gap.p99, f.total.p50, f.total.p95, f.total.p99],
      ...[percent(f.cachedShare), f.refused, f.cutOff, f.failed],
    ]),
    note:
      `Good: complete, the first token within ${bounds.ttftBound} ms${total}. TTFT: to the first token. Gap: ` +
      "between two pieces of text, mostly one token each. Cut off: not done ten seconds after the last arrival.",
  };
}

function saturationNotes({ label, phases, saturation }: OpenLoopRun, bounds: Bounds): string[] {
  if (saturation === undefined) {
    return [`${label}: no rate was sustained; take a lower --rate or a looser bound.`];
  }
  // Where every rate up to --max-rate was sustained, saturation lies above it, or above twice that.
  const found = phases.some((phase) => phase.purpose === "search" && !isSustained(rateResult(phase, bounds)));
  const lines = [
    found
      ? `${label}: saturated above ${saturation.toFixed(2)} requests a second (90 % of what arrives is good).`
      : `${label}: not saturated at ${
        saturation.toFixed(2)
      } requests a second, the highest rate of the search.`,
    `${label}: ${overloadNote(phases, saturation, bounds)}`,
  ];
  const [without, beside] = (["without flood", "beside flood"] as const)
    .map((purpose) => phases.find((phase) => phase.purpose === purpose));
  if (without && beside) {
    const [a, b] = [without, beside].map((phase) => phaseFigures(label, phase, bounds).first.p95);
    const times = ratio(b, a);
    lines.push(
      `${label}: beside the flood TTFT p95 is ${b?.toFixed(0)} ms, ${times?.toFixed(2)} times that without.`,
    );
  }
  const late = Math.max(...phases.map(({ latestSendMs }) => latestSendMs));
  if (late > 50) lines.push(`${label}: the load itself was up to ${late.toFixed(0)} ms late.`);
  return lines;
}

/** Rates measured by turns, so that a machine whose speed drifts met all of them: the search is minutes older. */
function overloadNote(phases: readonly Phase[], saturation: number, bounds: Bounds): string {
  const turns = Map.groupBy(phases.filter(({ purpose }) => purpose === "saturation"), (one) => one.askedRate);
  const results = [...turns.values()].map((some) => rateResult(pooledPhase(some), bounds));
  const goods = results.map(({ rate, goodput }) => {
    return `${goodput.toFixed(2)} at ${(rate / saturation).toFixed(0)} times that rate`;
  });
  const parts = results.flatMap(({ goodput }, i) => {
    const best = Math.max(...results.slice(0, i + 1).map((lower) => lower.goodput));
    return best > 0 ? [goodput / best] : [];
  });
  const least = percent(parts.length > 0 ? Math.min(...parts) : undefined);
  return `by turns good a second: ${goods.join(", ")}; never below ${least} of the best at a lower rate.`;
}

function rateCharts(runs: readonly OpenLoopRun[], bounds: Bounds): Chart[] {
  const byRate = ({ label, phases }: OpenLoopRun) => {
    const alone = phases.filter(({ purpose }) => !purpose.includes("flood"));
    return [...Map.groupBy(alone, ({ askedRate }) => askedRate).values()].map(pooledPhase)
      .toSorted((a, b) => a.askedRate - b.askedRate).map((phase) => phaseFigures(label, phase, bounds));
  };
  const prefix = (run: OpenLoopRun) => runs.length > 1 ? `${run.label}: ` : "";
  const marks = runs.length === 1 && runs[0].saturation !== undefined
    ? { marks: [{ x: runs[0].saturation, label: "saturation" }] }
    : {};
  const latency = (name: string, title: string, which: "first" | "total" | "gap"): Chart => ({
    name,
    title,
    x: { label: "requests a second" },
    y: { label: "ms", log: true },
    ...marks,
    series: runs.flatMap((run) =>
      (["p50", "p95", "p99"] as const).map((quantile) => ({
        label: `${prefix(run)}${quantile}`,
        points: byRate(run).filter((f) => f[which][quantile] !== undefined)
          .map((f) => [f.rate, f[which][quantile]!] as const),
      }))
    ),
  });
  return [
    latency("first-token-by-rate", "Time to first token against rate", "first"),
    latency("total-by-rate", "End to end against rate", "total"),
    latency("gap-by-rate", "Between two pieces of text against rate", "gap"),
    {
      name: "goodput-by-rate",
      title: "Answers in time against arrivals",
      x: { label: "requests a second" },
      y: { label: "good a second" },
      ...marks,
      series: [
        ...runs.map((run) => ({
          label: `${prefix(run)}good`,
          points: byRate(run).map((f) => [f.rate, f.goodput] as const),
        })),
        { label: "all that arrive", points: diagonal(runs) },
      ],
    },
  ];
}

function diagonal(runs: readonly OpenLoopRun[]): [number, number][] {
  const rates = runs.flatMap(({ phases }) => phases.map(({ askedRate }) => askedRate));
  return [[0, 0], [Math.max(...rates), Math.max(...rates)]];
}

function timeCharts(runs: readonly OpenLoopRun[]): Chart[] {
  const firstTokens: Chart = {
    name: "first-token-over-time",
    title: "Time to first token, rate after rate",
    x: { label: "seconds" },
    y: { label: "ms", log: true },
    series: runs.map(({ label, phases, startedAt }) => ({
      label,
      dots: true,
      points: phases.flatMap(({ outcomes }) => outcomes).filter(({ firstMs }) => firstMs !== undefined)
        .map(({ sentAt, firstMs }) => [(sentAt - startedAt) / 1000, firstMs!] as const),
    })),
    ...(runs.length === 1 && {
      marks: runs[0].phases.map(({ startedAt, askedRate }) => ({
        x: (startedAt - runs[0].startedAt) / 1000,
        label: `${Number(askedRate.toPrecision(2))}/s`,
      })),
    }),
  };
  return [firstTokens, ...counterCharts(runs)];
}

function count(outcomes: readonly Outcome[], kind: Outcome["kind"]): number {
  return outcomes.filter((outcome) => outcome.kind === kind).length;
}
