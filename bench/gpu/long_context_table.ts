// The tables and the plot of long_context.sh, from the JSON lines in its folder: as far as it came.
//
//     deno run -A bench/gpu/long_context_table.ts OUT [--plots docs/plots]
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Chart, svgChart } from "../load/svg_chart.ts";
import { readJson } from "./json_lines.ts";

export interface OperatorLine {
  readonly kind: "operator";
  readonly by: "hyades" | "pytorch";
  readonly operator: string;
  readonly length: number;
  readonly ms: number;
  readonly width: number;
}

export interface GenerationLine {
  readonly kind: "generation";
  readonly family: string;
  readonly context: number;
  readonly batch: number;
  /** Kept of all contexts of the batch. */
  readonly bytes: number;
  /** Undefined where it does not fit, for `reason`. */
  readonly ms?: number;
  readonly tokensPerSecond?: number;
  readonly reason?: string;
  /** On the device besides contexts. */
  readonly otherBytes?: number;
}

/** Microseconds a token of one layer's long convolution, of all sequences together. */
export interface OnlineLine {
  readonly kind: "online";
  readonly context: number;
  readonly batch: number;
  readonly window: number;
  readonly directUs: number;
  readonly us: number;
}

export type Line = OperatorLine | GenerationLine | OnlineLine;

/** Columns of the table of operators. */
const COLUMNS: readonly {
  readonly title: string;
  readonly by: OperatorLine["by"];
  readonly operator: string;
}[] = [
  { title: "attention, ours", by: "hyades", operator: "attention" },
  { title: "multi-query, ours", by: "hyades", operator: "multi-query" },
  { title: "attention, PyTorch", by: "pytorch", operator: "attention" },
  { title: "Hyena, ours", by: "hyades", operator: "hyena" },
  { title: "Hyena, PyTorch", by: "pytorch", operator: "hyena" },
  { title: "FFT convolution, PyTorch", by: "pytorch", operator: "convolution" },
  { title: "H3, ours", by: "hyades", operator: "h3" },
  { title: "H3, PyTorch", by: "pytorch", operator: "h3" },
];

/** What is asked of Hyena's operator: the other's time over ours, at a length. */
const TARGETS = [
  { other: "attention, ours", length: 8192, times: 2 },
  { other: "attention, ours", length: 65536, times: 20 },
  { other: "FFT convolution, PyTorch", length: 8192, times: 1 },
  { other: "FFT convolution, PyTorch", length: 65536, times: 1 },
  { other: "attention, PyTorch", length: 65536, times: 5 },
] as const;

/** What is asked of H3's generation: tokens a second over those of a multi-head transformer. */
const GENERATION_TARGET = { family: "h3", other: "multi-head", times: 2.4, batch: 64, context: 8192 };

if (import.meta.main) {
  const { values: flags, positionals: [folder] } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: { plots: { type: "string" } },
  });
  const lines = await readLines(folder);
  console.log(formatTables(lines));
  await Deno.writeTextFile(join(folder, "operators-by-length.svg"), svgChart(chartOf(lines)) + "\n");
  if (flags.plots) {
    await Deno.writeTextFile(join(flags.plots, "operators-by-length.svg"), svgChart(chartOf(lines)) + "\n");
  }
}

async function readLines(folder: string): Promise<Line[]> {
  const files = ["ours.jsonl", "pytorch-operators.log"];
  const lines = await Promise.all(files.map((file) => readJson(join(folder, file))));
  return lines.flat() as unknown as Line[];
}

/** Operators, what is asked of them, generation. */
export function formatTables(lines: readonly Line[]): string {
  const operators = lines.filter((line) => line.kind === "operator");
  const generation = lines.filter((line) => line.kind === "generation");
  return [
    `Operators of one sequence, ${operators[0]?.width ?? "-"} channels, without projections, milliseconds:`,
    operatorTable(operators),
    targetLines(operators),
    "Generation, tokens a second; bytes kept of the batch's contexts, and all other bytes on the device:",
    generationTable(generation),
    generationTarget(generation),
    onlineTable(lines.filter((line) => line.kind === "online")),
  ].filter(Boolean).join("\n\n");
}

function operatorTable(lines: readonly OperatorLine[]): string {
  const columns = COLUMNS.filter(({ by, operator }) =>
    lines.some((l) => l.by === by && l.operator === operator)
  );
  return table(
    ["tokens", ...columns.map(({ title }) => title)],
    lengthsOf(lines).map((length) => [
      String(length),
      ...columns.map(({ title }) => shown(timeOf(lines, title, length))),
    ]),
  );
}

function targetLines(lines: readonly OperatorLine[]): string {
  const rows = TARGETS.flatMap(({ other, length, times }) => {
    const ours = timeOf(lines, "Hyena, ours", length), theirs = timeOf(lines, other, length);
    if (ours === undefined || theirs === undefined) return [];
    const ratio = theirs / ours;
    return [[other, String(length), ratio.toFixed(2), String(times), ratio >= times ? "reached" : "short"]];
  });
  return rows.length > 0 ? table(["times Hyena's time, ours", "tokens", "is", "asked for", ""], rows) : "";
}

function generationTable(lines: readonly GenerationLine[]): string {
  const gigabytes = (bytes: number | undefined) => bytes === undefined ? "" : (bytes / 1e9).toPrecision(3);
  return table(
    ["model", "context", "batch", "tokens/s", "ms a step", "times multi-head", "contexts, GB", "else, GB"],
    sorted(lines).map((line) => {
      const { family, context, batch, reason, ms, tokensPerSecond: rate, bytes, otherBytes } = line;
      const multiHead = lines.find((l) =>
        l.family === "multi-head" && l.batch === batch && near(l.context, context)
      );
      const times = rate && multiHead?.tokensPerSecond && (rate / multiHead.tokensPerSecond).toFixed(2);
      const rates = reason ? [`does not fit: ${reason}`, "", ""] : [rate!.toFixed(0), shown(ms), times || ""];
      return [family, String(context), String(batch), ...rates, gigabytes(bytes), gigabytes(otherBytes)];
    }),
  );
}

function onlineTable(lines: readonly OnlineLine[]): string {
  if (lines.length === 0) return "";
  const rows = lines.map(({ context, batch, window, directUs, us }) => [
    String(context),
    String(batch),
    String(window),
    directUs.toPrecision(3),
    us.toPrecision(3),
    (directUs / us).toFixed(2),
  ]);
  const verdicts = [...new Set(lines.map(({ batch }) => batch))].map((batch) => {
    const faster = lines.filter((line) => line.batch === batch && line.us < line.directUs);
    const from = Math.min(...faster.map(({ context }) => context));
    return faster.length > 0
      ? `At batch ${batch} online is faster from ${from} tokens on, of the lengths measured.`
      : `At batch ${batch} online is faster at none of the lengths measured.`;
  });
  return [
    "One layer's exact long convolution, what earlier tokens add, microseconds a step:",
    table(["context", "batch", "window", "directly", "online", "times"], rows),
    verdicts.join(" "),
  ].join("\n\n");
}

/** By model in the order measured, then by context and batch. */
function sorted(lines: readonly GenerationLine[]): GenerationLine[] {
  const families = [...new Set(lines.map(({ family }) => family))];
  return lines.toSorted((a, b) =>
    families.indexOf(a.family) - families.indexOf(b.family) || Math.round((a.context - b.context) / 32) ||
    a.batch - b.batch
  );
}

function generationTarget(lines: readonly GenerationLine[]): string {
  const { family, other, times, batch, context } = GENERATION_TARGET;
  const rate = (name: string) =>
    lines.find((l) => l.family === name && l.batch === batch && near(l.context, context))?.tokensPerSecond;
  const ours = rate(family), theirs = rate(other);
  if (!ours || !theirs) return "";
  const ratio = ours / theirs, verdict = ratio >= times ? "reached" : "short";
  return `${family} generates ${
    ratio.toFixed(2)
  } times as fast as ${other} at batch ${batch} and ${context} tokens; ` +
    `${times} asked for: ${verdict}.`;
}

/** But for a block that was given up. */
function near(a: number, b: number): boolean {
  return Math.abs(a - b) <= 16;
}

function timeOf(lines: readonly OperatorLine[], title: string, length: number): number | undefined {
  const column = COLUMNS.find((one) => one.title === title)!;
  return lines.find((l) => l.by === column.by && l.operator === column.operator && l.length === length)?.ms;
}

function lengthsOf(lines: readonly OperatorLine[]): number[] {
  return [...new Set(lines.map(({ length }) => length))].sort((a, b) => a - b);
}

function shown(ms: number | undefined): string {
  return ms === undefined ? "-" : ms >= 100 ? ms.toFixed(0) : ms.toPrecision(3);
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const rule = header.map((_, i) => i === 0 ? "---" : "---:");
  return [header, rule, ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** Time by length, both logarithmic. */
export function chartOf(lines: readonly Line[]): Chart {
  const operators = lines.filter((line) => line.kind === "operator");
  return {
    name: "operators-by-length",
    title: "Operators of one sequence: milliseconds by tokens",
    x: { label: "tokens", log: true },
    y: { label: "milliseconds", log: true },
    series: COLUMNS.filter(({ operator }) => operator !== "multi-query").map(({ title, by, operator }) => ({
      label: title,
      points: operators.filter((l) => l.by === by && l.operator === operator)
        .sort((a, b) => a.length - b.length).map(({ length, ms }) => [length, ms] as const),
    })),
  };
}
