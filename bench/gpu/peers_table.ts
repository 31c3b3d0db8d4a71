// The table of peers.sh: each figure of ours beside a peer's from the same run, the ratio of their times (theirs over
// ours: above 1 we are faster) and the ratio that is asked for. And tokens a second by batch as a chart, which it leaves
// beside the logs, and in the folder of `--plots`.
//
//     deno run -A bench/gpu/peers_table.ts OUT --context 512 [--plots docs/plots]
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Chart, svgChart } from "../load/svg_chart.ts";

type Figure = "decodeMs" | "prefillMs";

interface Row {
  readonly peer: string;
  readonly dtype: string;
  readonly figure: Figure;
  readonly batch: number;
  readonly context: number;
  /** Their time over ours, at least. */
  readonly must?: number;
}

interface Timing {
  readonly peer: string;
  readonly version: string;
  readonly dtype: string;
  readonly batch: number;
  readonly context: number;
  readonly decodeMs?: number;
  readonly prefillMs?: number;
}

const OURS = "hyades";
const LOGS = ["pytorch.log", "llama.log", "ort.log"];
/** Whose decoding is drawn, by batch. */
const DRAWN = [
  { peer: OURS, dtype: "", label: "Hyades" },
  { peer: "pytorch", dtype: "float16, graph", label: "PyTorch, whole step in a CUDA graph" },
  { peer: "llama.cpp, Vulkan", dtype: "f16", label: "llama.cpp, Vulkan" },
];

if (import.meta.main) {
  const { values, positionals: [folder] } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: { context: { type: "string", default: "512" }, plots: { type: "string" } },
  });
  const timings = await readTimings(folder), context = Number(values.context);
  console.log(formatTable(timings, rowsAt(context)));
  const chart = chartOf(timings, context);
  for (const plots of [folder, values.plots ?? []].flat()) {
    await Deno.writeTextFile(join(plots, `${chart.name}.svg`), svgChart(chart) + "\n");
  }
}

/** What is compared, decoding after `context` tokens. */
export function rowsAt(context: number): Row[] {
  const decode = { figure: "decodeMs", context } as const;
  const prefill = { figure: "prefillMs", batch: 1 } as const;
  const graph = { peer: "pytorch", dtype: "float16, graph" };
  const eager = { peer: "pytorch", dtype: "float16, eager" };
  const llama = { peer: "llama.cpp, Vulkan", dtype: "f16" };
  const ort = { peer: "ort-webgpu", dtype: "fp16" };
  return [
    { ...graph, ...decode, batch: 1, must: 1.4 },
    { ...graph, ...decode, batch: 8, must: 1.5 },
    { ...graph, ...decode, batch: 32, must: 1.5 },
    { ...graph, ...decode, batch: 64, must: 1.5 },
    { ...eager, ...prefill, context: 512, must: 0.5 },
    { ...eager, ...prefill, context: 2048, must: 0.15 },
    { ...eager, ...prefill, context: 8192, must: 0.15 },
    { ...graph, ...prefill, context: 512 },
    { ...graph, ...prefill, context: 2048 },
    { ...graph, ...prefill, context: 8192 },
    { ...llama, ...decode, batch: 1, must: 1.5 },
    { ...llama, ...decode, batch: 8 },
    { ...llama, ...decode, batch: 32, must: 3 },
    { ...llama, ...decode, batch: 64, must: 2 },
    { ...llama, ...prefill, context },
    { ...llama, ...prefill, batch: 32, context, must: 0.6 },
    { ...ort, ...decode, batch: 1, must: 4 },
    { ...ort, ...prefill, context: 512, must: 3 },
    { ...ort, ...prefill, context: 2048, must: 3 },
  ];
}

/** The figures in a folder's logs; of whoever left none there are none. */
export async function readTimings(folder: string): Promise<Timing[]> {
  const ours = await readLines(join(folder, "ours.jsonl"));
  const theirs = await Promise.all(LOGS.map((log) => readLines(join(folder, log))));
  return [
    ...ours.map((line) => ({ version: "", dtype: "", ...line, peer: OURS }) as Timing),
    ...theirs.flat().filter((line) => "peer" in line).map(asTiming),
  ];
}

function asTiming({ decode_ms: decodeMs, prefill_ms: prefillMs, ...rest }: Record<string, unknown>): Timing {
  // PyTorch prefills eagerly before either way of decoding; lines of prefills alone say which way they were run.
  const unsure = rest.peer === "pytorch" && decodeMs !== undefined;
  return { ...rest, decodeMs, ...(!unsure && { prefillMs }) } as Timing;
}

/** The lines of a log that are JSON objects; none where it is missing. */
async function readLines(path: string): Promise<Record<string, unknown>[]> {
  const text = await Deno.readTextFile(path).catch(() => "");
  return text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

/** A line for each row that both have a figure for. */
export function formatTable(timings: readonly Timing[], rows: readonly Row[]): string {
  const lines = rows.flatMap((row) => {
    const ours = timeOf(timings, { ...row, peer: OURS, dtype: "" });
    const theirs = timeOf(timings, row);
    return ours && theirs ? [formatRow(row, ours, theirs, versionOf(timings, row))] : [];
  });
  return [
    "| what | peer | ours | peer's | theirs / ours | must | |",
    "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ...lines,
  ].join("\n");
}

/** Tokens a second of decoding after `context` tokens by batch, both logarithmic. */
export function chartOf(timings: readonly Timing[], context: number): Chart {
  return {
    name: "decode-by-batch",
    title: `Decoding after ${context} tokens: tokens a second by batch`,
    x: { label: "sequences in a batch", log: true },
    y: { label: "tokens a second", log: true },
    series: DRAWN.map(({ peer, dtype, label }) => {
      const batches = [...new Set(timings.map(({ batch }) => batch))].sort((a, b) => a - b);
      const points = batches.flatMap((batch) => {
        const ms = timeOf(timings, { peer, dtype, figure: "decodeMs", batch, context });
        return ms ? [[batch, batch / ms * 1000] as const] : [];
      });
      return { label, points };
    }),
  };
}

/** The best of a figure, milliseconds; a row may be measured more than once. */
function timeOf(timings: readonly Timing[], row: Omit<Row, "must">): number | undefined {
  const times = timings.filter((timing) => isOf(timing, row)).map((timing) => timing[row.figure] ?? Infinity);
  const best = Math.min(...times);
  return best < Infinity ? best : undefined;
}

function versionOf(timings: readonly Timing[], row: Row): string {
  return timings.find((timing) => isOf(timing, row))?.version ?? "";
}

function isOf(timing: Timing, { peer, dtype, batch, context }: Omit<Row, "must">): boolean {
  return timing.peer === peer && timing.dtype === dtype && timing.batch === batch &&
    timing.context === context;
}

function formatRow(row: Row, ours: number, theirs: number, version: string): string {
  const { figure, batch, context, must } = row;
  const ratio = theirs / ours;
  const what = figure === "decodeMs" ? `decode, batch ${batch}` : `prefill, ${batch} x ${context}`;
  const tokens = figure === "decodeMs" ? batch : batch * context;
  const cells = [
    what,
    `${row.peer} ${version} (${row.dtype})`,
    formatTime(ours, tokens),
    formatTime(theirs, tokens),
    ratio.toFixed(2),
    must?.toString() ?? "",
    must === undefined ? "" : ratio >= must ? "reached" : "short",
  ];
  return `| ${cells.join(" | ")} |`;
}

function formatTime(ms: number, tokens: number): string {
  return `${ms < 100 ? ms.toPrecision(3) : ms.toFixed(0)} ms, ${Math.round(tokens / ms * 1000)} token/s`;
}
