// A load test's report as one HTML file: nothing is loaded from anywhere, dark and light by the reader's setting.
import { formatCell, headline, type LoadReport, type Table } from "./load_report.ts";
import { escapeXml, svgChart } from "./svg_chart.ts";

const STYLE = `
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5b6472;--back:#f4f5f7;--card:#fff;--rule:#e0e3e8;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a1b0;--back:#0e1116;--card:#171b22;--rule:#2c333e;
--bad:#ff8a80}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:1320px;margin:0 auto;
padding:2rem 1.25rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{color:var(--soft);margin:.4rem 0;max-width:80ch}
code{font-size:.9em;overflow-wrap:anywhere}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:6px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.4rem .7rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{font-weight:600;font-size:.85em;color:var(--soft);white-space:normal;vertical-align:bottom}
th:first-child,td:first-child{text-align:left}td:first-child{white-space:normal;min-width:11rem}
tr:last-child td{border-bottom:0}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));gap:1rem;margin-top:2rem}
.chart{border:1px solid var(--rule);border-radius:6px;width:100%;height:auto}.fault{color:var(--bad)}`;

export function htmlReport(report: LoadReport): string {
  const { mode, tables, charts, notes, faults } = report;
  const title = `Load test: ${mode}`;
  return [
    `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">`,
    `<title>${escapeXml(title)}</title><style>${STYLE}</style>`,
    `<h1>${escapeXml(title)}</h1><p>${inCode(headline(report))}</p>`,
    ...faults.map((fault) => `<p class="fault">Fault: ${escapeXml(fault)}</p>`),
    ...tables.map(htmlTable),
    ...notes.map((note) => `<p>${inCode(note)}</p>`),
    `<div class="charts">${charts.map(svgChart).join("\n")}</div></html>`,
  ].join("\n");
}

function htmlTable({ title, columns, rows, note }: Table): string {
  const head = columns.map((name) => `<th>${escapeXml(name)}</th>`).join("");
  const body = rows.map((row) =>
    `<tr>${row.map((cell) => `<td>${escapeXml(formatCell(cell))}</td>`).join("")}</tr>`
  );
  return `<h2>${escapeXml(title)}</h2><div class="scroll"><table><thead><tr>${head}</tr></thead>` +
    `<tbody>${body.join("")}</tbody></table></div>${note ? `<p>${escapeXml(note)}</p>` : ""}`;
}

/** Markdown's backticks, the only mark-up that headlines and notes have. */
function inCode(text: string): string {
  return escapeXml(text).replace(/`([^`]*)`/g, "<code>$1</code>");
}
