// Turns figures into the markdown tables of the README. Knows nothing of how they were measured.
import type { Machine } from "./machine.ts";
import type { Timing } from "./measure.ts";
import type { PeerTiming } from "./peers.ts";

export interface Report {
  readonly machine: Machine;
  readonly model: string;
  /** Backend and adapter, as "cpu: WebAssembly kernels, 2 threads". */
  readonly device: string;
  readonly ours: readonly Timing[];
  /** Peers in the order of their columns, each with all its dtypes. */
  readonly peers: readonly (readonly PeerTiming[])[];
  /** What could not be measured, and why. */
  readonly notes: readonly string[];
}

type Figure = "decodeMs" | "prefillMs";

/** Forms that round the activations to 8 bits as well: not the same model any more, so they have columns of their own. */
const ROUNDED: ReadonlySet<string> = new Set(["int8_dynamic", "q8"]);

interface Column {
  readonly title: string;
  readonly timings: readonly PeerTiming[];
}

/** Header, a table of decode steps, a table of prefills, notes. */
export function formatReport(report: Report): string {
  const { machine, model, device } = report;
  const driver = machine.driver ? `, driver ${machine.driver}` : "";
  const versions = report.peers.map(([first]) => `${first.peer} ${first.version}`);
  return [
    `${machine.cpu}, ${machine.cores} cores${driver}; ${device}. ${model}. ` +
    `${[`Deno ${machine.deno}`, ...versions].join(", ")}. Commit ${machine.commit}, ${machine.date}.`,
    "Decode, milliseconds a step (median):",
    table(report, "decodeMs"),
    "Prefill, milliseconds (best of two):",
    table(report, "prefillMs"),
    ...report.notes,
  ].join("\n\n") + "\n";
}

function table({ ours, peers }: Report, figure: Figure): string {
  const columns = peers.flatMap(columnsOf);
  const rows = ours.map((timing) => [
    timing.batch,
    timing.context,
    format(timing[figure]),
    ...columns.flatMap(({ timings }) => peerCells(timing, timings, figure)),
  ]);
  const header = ["batch", "context", "Hyades", ...columns.flatMap(({ title }) => [title, "theirs / ours"])];
  return [header, header.map(() => "---:"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function columnsOf(timings: readonly PeerTiming[]): Column[] {
  const [{ peer }] = timings;
  const columns = [
    { title: peer, timings: timings.filter(({ dtype }) => !ROUNDED.has(dtype)) },
    { title: `${peer}, 8-bit activations`, timings: timings.filter(({ dtype }) => ROUNDED.has(dtype)) },
  ];
  return columns.filter(({ timings }) => timings.length > 0);
}

/** The column's best dtype for this case, and its time over ours. */
function peerCells(ours: Timing, timings: readonly PeerTiming[], figure: Figure): string[] {
  const same = timings.filter(({ batch, context }) => batch === ours.batch && context === ours.context);
  if (same.length === 0) return ["-", "-"];
  const best = same.reduce((a, b) => (b[figure] < a[figure] ? b : a));
  return [`${format(best[figure])} (${best.dtype})`, (best[figure] / ours[figure]).toFixed(2)];
}

/** Three significant digits. */
function format(ms: number): string {
  return ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms.toFixed(2);
}
