// What a soak amounts to: what was asked and answered, what is left over, how memory went; and what of it is a fault.
import { isRefused } from "./faults.ts";
import type { Findings } from "./load_report.ts";
import type { SoakRun } from "./soak.ts";
import { slopeOf } from "./statistics.ts";
import type { Chart } from "./svg_chart.ts";

const MB = 2 ** 20;

/** The figures of one run, by the names of the JSON lines. */
export function soakFigures({ label, counts, faults, samples, after, errors }: SoakRun) {
  const { examples: _, ...numbers } = counts;
  const refused = faults.filter(isRefused).length;
  const memory = samples.flatMap(({ requests, counters: { memoryBytes } }) =>
    memoryBytes === undefined ? [] : [[requests / 1000, memoryBytes / MB] as const]
  );
  const half = memory.slice(memory.length >> 1);
  return {
    label,
    ...numbers,
    faultsRefused: refused,
    faultsNotRefused: faults.length - refused,
    blocksLeft: after && blocksLeft(after),
    memoryMb: memory.at(-1)?.[1],
    /** MB per 1000 requests over all of the run, and over its second half, when caches and pools have filled. */
    memorySlope: memory.length > 1 ? slopeOf(memory) : undefined,
    lateMemorySlope: half.length > 1 ? slopeOf(half) : undefined,
    serverErrors: errors.length,
  };
}

export function soakFindings(runs: readonly SoakRun[]): Findings {
  const records = runs.map(soakFigures);
  return {
    records,
    tables: [{
      title: "Soak",
      columns: [
        ...["server", "right", "wrong", "unanswered", "left sending", "left waiting", "left reading"],
        ...["bad refused", "bad not refused", "blocks left", "memory, MB", "MB/1000 requests", "of 2nd half"],
        "server errors",
      ],
      rows: records.map((r) => [
        ...[r.label, r.right, r.wrong, r.unanswered, r.leftSending, r.leftWaiting, r.leftReading],
        ...[r.faultsRefused, r.faultsNotRefused, r.blocksLeft, r.memoryMb, r.memorySlope, r.lateMemorySlope],
        r.serverErrors,
      ]),
      note:
        "Right: equal to the answer to the same request alone, byte for byte. Left: by the client, at that stage. " +
        "Bad: broken, of wrong types, oversized; to be refused with a 4xx.",
    }],
    charts: soakCharts(runs),
    notes: [],
    faults: runs.flatMap(faultsOf),
  };
}

/** What must not be, in words. */
export function faultsOf(run: SoakRun): string[] {
  const { wrong, unanswered, blocksLeft: left } = soakFigures(run);
  const served = run.faults.filter((fault) => !isRefused(fault))
    .map(({ name, status }) => `${name} (${status ?? "connection closed"})`);
  return [
    ...(wrong > 0 ? [`${wrong} answers differ from those alone: ${run.counts.examples.join("; ")}`] : []),
    ...(unanswered > 0
      ? [`${unanswered} good requests got no answer: ${run.counts.examples.join("; ")}`]
      : []),
    ...(served.length > 0 ? [`bad requests were not refused: ${[...new Set(served)].join(", ")}`] : []),
    ...(left ? [`${left} blocks are still held`] : []),
    ...(run.after?.running || run.after?.waiting ? ["requests still run or wait"] : []),
    ...run.errors.slice(0, 3).map((line) => `the server wrote: ${line.slice(0, 500)}`),
  ].map((fault) => `${run.label}: ${fault}`);
}

function blocksLeft({ totalBlocks, freeBlocks }: NonNullable<SoakRun["after"]>): number | undefined {
  return totalBlocks === undefined || freeBlocks === undefined ? undefined : totalBlocks - freeBlocks;
}

function soakCharts(runs: readonly SoakRun[]): Chart[] {
  const x = { label: "requests" };
  const charts: Chart[] = [
    {
      name: "memory",
      title: "Resident memory",
      x,
      y: { label: "MB" },
      series: runs.map(({ label, samples }) => ({
        label,
        points: samples.flatMap(({ requests, counters: { memoryBytes } }) =>
          memoryBytes === undefined ? [] : [[requests, memoryBytes / MB] as const]
        ),
      })),
    },
    {
      name: "blocks",
      title: "Blocks of the KV cache in use",
      x,
      y: { label: "blocks" },
      series: runs.map(({ label, samples }) => ({
        label,
        points: samples.flatMap(({ requests, counters }) => {
          const used = blocksLeft(counters);
          return used === undefined ? [] : [[requests, used] as const];
        }),
      })),
    },
  ];
  return charts.filter(({ series }) => series.some(({ points }) => points.length > 0));
}
