// What a load test has to tell, whatever its mode: tables, charts, notes and figures for machines. Text, HTML and SVG
// are made of it elsewhere.
import type { Chart } from "./svg_chart.ts";
import type { Machine } from "../machine.ts";

export type Cell = string | number | undefined;

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  /** How a column is to be read, where its name does not say. */
  readonly note?: string;
}

/** What a mode finds out. */
export interface Findings {
  readonly tables: readonly Table[];
  readonly charts: readonly Chart[];
  readonly notes: readonly string[];
  /** One JSON line each. */
  readonly records: readonly Readonly<Record<string, unknown>>[];
  /** What was wrong, where a mode checks: then the command fails. */
  readonly faults: readonly string[];
}

export interface LoadReport extends Findings {
  readonly mode: string;
  readonly command: string;
  readonly machine: Machine;
}

/** Machine and tables in markdown, as for the README. */
export function formatText(report: LoadReport): string {
  return [
    headline(report),
    ...report.tables.flatMap(({ title, note, ...table }) => [
      `${title}:`,
      markdownTable(table),
      ...(note ? [note] : []),
    ]),
    ...report.notes,
    ...report.faults.map((fault) => `Fault: ${fault}`),
  ].join("\n\n") + "\n";
}

export function headline({ machine, command }: LoadReport): string {
  return `\`${command}\`. ${machine.cpu}, ${machine.cores} cores; Deno ${machine.deno}. ` +
    `Commit ${machine.commit}, ${machine.date}.`;
}

/** Figures with three significant digits at least; a dash for what is not known. */
export function formatCell(cell: Cell): string {
  if (cell === undefined) return "-";
  if (typeof cell === "string") return cell;
  if (Number.isInteger(cell) || Math.abs(cell) >= 100) return cell.toFixed(0);
  return cell.toFixed(Math.abs(cell) >= 10 ? 1 : 2);
}

export function percent(share: number | undefined): string | undefined {
  return share === undefined ? undefined : `${(share * 100).toFixed(share > 0.995 && share < 1 ? 1 : 0)} %`;
}

function markdownTable({ columns, rows }: Pick<Table, "columns" | "rows">): string {
  const rule = columns.map((_, i) => i === 0 ? "---" : "---:");
  const lines = [columns, rule, ...rows.map((row) => row.map(formatCell))];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
