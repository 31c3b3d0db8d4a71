// Line charts as SVG text: self-contained, readable in dark and light, as part of a page and as a file of its own.

export interface Axis {
  readonly label: string;
  readonly log?: boolean;
  /** Where it ends; else at the data's largest value. */
  readonly max?: number;
}

export interface Series {
  readonly label: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly dots?: boolean;
  /** Each value holds until the next. */
  readonly steps?: boolean;
}

export interface Chart {
  /** For a file: small letters and hyphens. */
  readonly name: string;
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  /** Vertical lines with a word to each. */
  readonly marks?: readonly { readonly x: number; readonly label: string }[];
}

const WIDTH = 640, HEIGHT = 300;
/** On the right there is room for half of the last tick's number. */
const LEFT = 56, RIGHT = 28, TOP = 34, BOTTOM = 50, LEGEND_LINE = 17;
const MAX_POINTS = 1500;

/** Lines have seven colours that stay apart for most colour-blind eyes, on white as on dark grey. */
const LIGHT = {
  ink: "#1c2330",
  faint: "#8a93a3",
  grid: "#e3e6eb",
  back: "#fff",
  lines: ["#2563c9", "#d9622b", "#1b8a5a", "#9b4fc4", "#b58900", "#c43c6b", "#3a8fa3"],
};
const DARK: typeof LIGHT = {
  ink: "#e6e9ef",
  faint: "#98a1b0",
  grid: "#333a46",
  back: "#171b22",
  lines: ["#6ea8ff", "#ff9a66", "#54c995", "#cf92f2", "#e0b84d", "#f0819f", "#74c6d8"],
};

/** The light colours are attributes, so that whatever knows no style sheets shows them; this has the dark ones. */
const STYLE = `@media (prefers-color-scheme:dark){.chart .back{fill:${DARK.back}}.chart text{fill:${DARK.ink}}
.chart .tick{fill:${DARK.faint}}.chart .grid{stroke:${DARK.grid}}.chart .mark{stroke:${DARK.faint}}
${
  DARK.lines.map((colour, i) => `.chart .fill${i}{fill:${colour}}.chart .stroke${i}{stroke:${colour}}`).join(
    "\n",
  )
}}`;

export function svgChart(chart: Chart): string {
  const x = new Scale(chart.x, chart.series.flatMap(({ points }) => points.map(([x]) => x)), [
    LEFT,
    WIDTH - RIGHT,
  ]);
  const y = new Scale(chart.y, chart.series.flatMap(({ points }) => points.map(([, y]) => y)), [
    HEIGHT - BOTTOM,
    TOP,
  ]);
  const series = chart.series.filter(({ points }) => points.length > 0);
  const height = HEIGHT + series.length * LEGEND_LINE + 10;
  return [
    `<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" ` +
    `font-family="system-ui,sans-serif" font-size="12" aria-label="${escapeXml(chart.title)}">` +
    `<style>${STYLE}</style>`,
    `<rect class="back" width="${WIDTH}" height="${height}" rx="6" fill="${LIGHT.back}"/>`,
    `<text x="${LEFT}" y="20" font-size="14" font-weight="600" fill="${LIGHT.ink}">${
      escapeXml(chart.title)
    }</text>`,
    ...y.ticks.map((value) => horizontal(y.at(value), value)),
    ...x.ticks.map((value) => faintText(x.at(value), HEIGHT - BOTTOM + 16, "middle", formatTick(value))),
    faintText(LEFT, HEIGHT - 16, "start", `${chart.x.label}; up: ${chart.y.label}`),
    ...(chart.marks ?? []).map((mark) => verticalMark(x.at(mark.x), mark.label)),
    ...series.map((one, i) => one.dots ? dots(one, i, x, y) : line(one, i, x, y)),
    ...series.map(({ label }, i) => legend(label, i)),
    "</svg>",
  ].join("\n");
}

/** From values to places, and where the ticks are. */
class Scale {
  readonly ticks: readonly number[];
  readonly #log: boolean;
  readonly #low: number;
  readonly #high: number;
  readonly #range: readonly [number, number];

  constructor(axis: Axis, values: readonly number[], range: readonly [number, number]) {
    const largest = axis.max ?? values.reduce((a, b) => Math.max(a, b), 0);
    const smallest = values.reduce((a, b) => b > 0 ? Math.min(a, b) : a, Infinity);
    this.#log = axis.log ?? false;
    this.#range = range;
    this.ticks = this.#log ? logTicks(smallest, largest) : linearTicks(largest);
    this.#low = this.ticks[0];
    this.#high = axis.max ?? this.ticks.at(-1)!;
  }

  at(value: number): number {
    const [from, to] = this.#range;
    const share = this.#log
      ? Math.log(Math.max(value, this.#low) / this.#low) / Math.log(this.#high / this.#low)
      : (value - this.#low) / (this.#high - this.#low);
    return from + Math.min(1, share) * (to - from);
  }
}

/** From 0 on, about five steps of 1, 2 or 5 times a power of ten. */
export function linearTicks(largest: number): number[] {
  const rough = (largest > 0 && Number.isFinite(largest) ? largest : 1) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999)!;
  return Array.from({ length: Math.ceil(largest / step - 1e-9) + 1 }, (_, i) => i * step)
    .concat(largest > 0 ? [] : [step]);
}

/** 1, 2 and 5 times powers of ten, around the values. */
export function logTicks(smallest: number, largest: number): number[] {
  const low = Number.isFinite(smallest) && smallest > 0 ? smallest : 1, high = Math.max(largest, low * 2);
  const all: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of [1, 2, 5]) all.push(factor * 10 ** power);
  }
  const first = all.findLastIndex((tick) => tick <= low), last = all.findIndex((tick) => tick >= high);
  const between = all.slice(Math.max(0, first), last + 1);
  // Where many powers fit, they alone are named.
  return between.length <= 10
    ? between
    : all.filter((tick, i) => i % 3 === 0 && tick >= between[0] / 10 && tick <= high * 10);
}

function line({ points, steps }: Series, colour: number, x: Scale, y: Scale): string {
  const path = thin(points).map(([px, py], i) => {
    const [left, top] = [x.at(px).toFixed(1), y.at(py).toFixed(1)];
    return i === 0 ? `M${left} ${top}` : steps ? `H${left}V${top}` : `L${left} ${top}`;
  });
  const marks = points.length <= 30 && !steps ? dots({ label: "", points }, colour, x, y) : "";
  return `<path ${coloured("stroke", colour)} fill="none" stroke-width="2" stroke-linejoin="round" ` +
    `d="${path.join("")}"/>${marks}`;
}

function dots({ points }: Series, colour: number, x: Scale, y: Scale): string {
  const radius = points.length > 30 ? 1.8 : 3.2;
  const circles = thin(points).map(([px, py]) =>
    `<circle cx="${x.at(px).toFixed(1)}" cy="${y.at(py).toFixed(1)}" r="${radius}">` +
    `<title>${formatTick(px)}, ${formatTick(py)}</title></circle>`
  );
  return `<g ${coloured("fill", colour)} fill-opacity="0.75">${circles.join("")}</g>`;
}

function coloured(what: "fill" | "stroke", index: number): string {
  const i = index % LIGHT.lines.length;
  return `class="${what}${i}" ${what}="${LIGHT.lines[i]}"`;
}

/** Every so many, so that a long run's page stays small. */
function thin(points: Series["points"]): Series["points"] {
  const every = Math.ceil(points.length / MAX_POINTS);
  return points.filter((_, i) => i % every === 0);
}

function horizontal(top: number, value: number): string {
  return `<line class="grid" stroke="${LIGHT.grid}" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${
    top.toFixed(1)
  }" ` +
    `y2="${top.toFixed(1)}"/>` + faintText(LEFT - 8, top + 4, "end", formatTick(value));
}

function verticalMark(left: number, label: string): string {
  return `<line class="mark" stroke="${LIGHT.faint}" stroke-dasharray="4 4" x1="${left.toFixed(1)}" ` +
    `x2="${left.toFixed(1)}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/>` +
    faintText(left + 4, TOP + 10, "start", label);
}

function faintText(x: number, y: number, anchor: "start" | "middle" | "end", text: string): string {
  return `<text class="tick" font-size="11" fill="${LIGHT.faint}" text-anchor="${anchor}" x="${
    x.toFixed(1)
  }" ` +
    `y="${y.toFixed(1)}">${escapeXml(text)}</text>`;
}

function legend(label: string, index: number): string {
  const top = HEIGHT + 6 + index * LEGEND_LINE;
  return `<rect x="${LEFT}" y="${top - 8}" width="14" height="4" rx="2" ${coloured("fill", index)}/>` +
    `<text x="${LEFT + 22}" y="${top - 2}" fill="${LIGHT.ink}">${escapeXml(label)}</text>`;
}

function formatTick(value: number): string {
  return Number(value.toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 4 });
}

export function escapeXml(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]!);
}
