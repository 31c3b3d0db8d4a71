// What keystroke replays amount to: a row each, and charts with a line each.
import type { Outcome } from "./client.ts";
import { counterCharts } from "./counter_charts.ts";
import type { Replay } from "./keystrokes.ts";
import { type Findings, percent, type Table } from "./load_report.ts";
import { growth, ratio } from "./server_counters.ts";
import { distributionOf, quantileOf, spreadOf } from "./statistics.ts";
import type { Chart } from "./svg_chart.ts";

/** The figures of one replay, by the names of the JSON lines; milliseconds and shares from 0 to 1. */
export function keystrokeFigures(replay: Replay) {
  const { outcomes, before, after } = replay;
  const answered = outcomes.filter(({ firstMs }) => firstMs !== undefined);
  const first = spreadOf(answered.map(({ firstMs }) => firstMs!));
  const all = distributionOf(outcomes.map(observation));
  return {
    label: replay.label,
    editors: replay.editors,
    keys: outcomes.length,
    prefilledPerKey: ratio(growth("prefilledTokens", before, after), outcomes.length),
    computedPerKey: ratio(growth("computedPromptTokens", before, after), outcomes.length),
    computedPerAnswer: ratio(growth("computedPromptTokens", before, after), answered.length),
    cachedShare: cachedShare(replay),
    answeredShare: ratio(answered.length, outcomes.length),
    completeShare: ratio(outcomes.filter(({ kind }) => kind === "complete").length, outcomes.length),
    firstP50: first.p50,
    firstP95: first.p95,
    allFirstP50: quantileOf(all, 0.5),
    allFirstP95: quantileOf(all, 0.95),
    accepted: replay.accepted,
    flood: replay.flood,
    failed: outcomes.filter(({ kind }) => kind === "failed" || kind === "refused").length,
    floodCompleted: replay.floodCompleted,
  };
}

type Figures = ReturnType<typeof keystrokeFigures>;

/** A curve that is estimated from fewer of the keys, 0 to 1, tells of the estimate and not of the server. */
const LEAST_ANSWERED = 0.05;

export function keystrokeFindings(replays: readonly Replay[]): Findings {
  const records = replays.map(keystrokeFigures);
  const missing = replays.filter((_, i) => !hasCurve(records[i]));
  const reasons = replays.flatMap(({ outcomes }) => outcomes.flatMap(({ reason }) => reason ?? []));
  return {
    records,
    tables: [replayTable(records), ...ratioTables(records)],
    charts: [
      estimateChart(replays.filter((_, i) => hasCurve(records[i]))),
      firstTokenChart(replays),
      ...counterCharts(replays.map((r) => ({ ...r, label: nameOf(r) }))),
    ],
    notes: [
      ...missing.map((replay) =>
        `No curve for ${nameOf(replay)}: under ${percent(LEAST_ANSWERED)} of its keys were answered.`
      ),
      ...(reasons.length > 0 ? [`First failure: ${reasons[0]}`] : []),
    ],
    faults: [],
  };
}

function replayTable(records: readonly Figures[]): Table {
  return {
    title: "Keystroke replay",
    columns: [
      ...[
        "server",
        "editors",
        "keys",
        "prefilled a key",
        "computed a key",
        "an answer",
        "cached",
        "answered",
      ],
      ...["TTFT p50, ms", "TTFT p95, ms", "all p50, ms", "all p95, ms", "accepted", "failed"],
    ],
    rows: records.map((r) => [
      ...[r.label, r.editors, r.keys, r.prefilledPerKey, r.computedPerKey, r.computedPerAnswer],
      ...[percent(r.cachedShare), percent(r.answeredShare)],
      ...[r.firstP50, r.firstP95, r.allFirstP50, r.allFirstP95],
      ...[r.accepted, r.failed],
    ]),
    note:
      "Prefilled: prompt tokens computed, of prompts that were done. Computed: with those of prompts that the next " +
      "key broke off. A slow server reaches few keys and so computes little a key: an answer has what was computed " +
      "divided by the keys answered. Answered: the first token came before the next key; TTFT is of those. All: of " +
      "every key, estimated with the others as cut off (Kaplan and Meier); a dash where too many were cut off to tell.",
  };
}

/** The others as multiples of the first server, under the same number of editors and the same flood. */
function ratioTables(records: readonly Figures[]): Table[] {
  const others = records.filter(({ label }) => label !== records[0].label);
  if (others.length === 0) return [];
  const rows = others.map((r) => {
    const first = records.find(({ label, editors, flood }) =>
      label === records[0].label && editors === r.editors && flood === r.flood
    )!;
    return [
      ...[nameOf(r), times(r.computedPerKey, first.computedPerKey)],
      times(r.computedPerAnswer, first.computedPerAnswer),
      ...[times(r.firstP50, first.firstP50), times(r.firstP95, first.firstP95)],
      ...[times(r.allFirstP50, first.allFirstP50), times(r.allFirstP95, first.allFirstP95)],
    ];
  });
  return [{
    title: `As multiples of ${records[0].label}`,
    columns: ["server", "computed a key", "an answer", "TTFT p50", "TTFT p95", "all p50", "all p95"],
    rows,
    note: "Above 1: more tokens, or more time, than the first server takes.",
  }];
}

function times(amount: number | undefined, per: number | undefined): string | undefined {
  const value = ratio(amount, per);
  return value === undefined ? undefined : `${value.toFixed(2)}x`;
}

function hasCurve({ answeredShare = 0 }: Figures): boolean {
  return answeredShare >= LEAST_ANSWERED;
}

function estimateChart(replays: readonly Replay[]): Chart {
  return {
    name: "first-token-distribution",
    title: "Keys whose first token has come, estimated (Kaplan-Meier)",
    x: { label: "ms after the key", log: true },
    y: { label: "%", max: 100 },
    series: replays.map((replay) => ({
      label: nameOf(replay),
      steps: true,
      points: distributionOf(replay.outcomes.map(observation))
        .map(({ ms, share }) => [Math.max(ms, 1), share * 100] as const),
    })),
  };
}

function firstTokenChart(replays: readonly Replay[]): Chart {
  return {
    name: "first-token-over-time",
    title: "Time to first token",
    x: { label: "seconds" },
    y: { label: "ms", log: true },
    series: replays.map((replay) => ({
      label: nameOf(replay),
      dots: true,
      points: replay.outcomes.filter(({ firstMs }) => firstMs !== undefined)
        .map(({ sentAt, firstMs }) => [(sentAt - replay.startedAt) / 1000, Math.max(firstMs!, 1)] as const),
    })),
  };
}

function observation({ firstMs, totalMs }: Outcome) {
  return { ms: firstMs ?? totalMs, cutOff: firstMs === undefined };
}

/** By the server's counters; by the replies' own where it has none for it. */
function cachedShare({ outcomes, before, after }: Replay): number | undefined {
  const share = ratio(growth("cachedTokens", before, after), growth("queriedTokens", before, after));
  if (share !== undefined) return share;
  const told = outcomes.filter(({ cachedTokens }) => cachedTokens !== undefined);
  const cached = told.reduce((sum, { cachedTokens }) => sum + cachedTokens!, 0);
  return ratio(cached, told.reduce((sum, { promptTokens }) => sum + promptTokens!, 0));
}

function nameOf({ label, editors, flood }: Pick<Replay, "label" | "editors" | "flood">): string {
  return `${label}, ${editors} editor${editors > 1 ? "s" : ""}${flood > 0 ? ", flood" : ""}`;
}
